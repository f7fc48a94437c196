//! Which column is the text, and which the label.

use serde::{Deserialize, Serialize};

/// Names of the columns that are used. A name is taken as it is; without one the
/// column is called `text` or `label`, in small letters or capitals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Columns {
    /// The column of texts.
    pub text: Option<String>,
    /// The column of labels.
    pub label: Option<String>,
}

/// Places of the columns, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub text: usize,
    pub label: Option<usize>,
}

impl Columns {
    /// Whether a name was given at all.
    pub(crate) fn asked(&self) -> bool {
        self.text.is_some() || self.label.is_some()
    }

    /// Whether these are names that one would give the columns.
    pub(crate) fn are_header<S: AsRef<str>>(names: &[S], wants_label: bool) -> bool {
        let has = |name: &str| names.iter().any(|cell| same(cell.as_ref(), name));
        has("text") && (!wants_label || has("label"))
    }

    /// Where the columns are among those that there are; what is wrong and what
    /// to do if they are not. Without `wants_label` the label may be absent,
    /// unless it was asked for by name.
    pub(crate) fn places<S: AsRef<str>>(
        &self,
        names: &[S],
        wants_label: bool,
    ) -> Result<Places, String> {
        let text = place(names, self.text.as_deref(), "text")?
            .ok_or_else(|| absent(names, self.text.as_deref(), "text"))?;
        let label = place(names, self.label.as_deref(), "label")?;
        if label.is_none() && (wants_label || self.label.is_some()) {
            return Err(absent(names, self.label.as_deref(), "label"));
        }
        if label == Some(text) {
            return Err(format!(
                "text and label cannot both be the column {:?}; name two with --text-column and \
                 --label-column",
                names[text].as_ref()
            ));
        }
        Ok(Places { text, label })
    }

    /// As [`Columns::places`], of a record that need not have a label.
    pub(crate) fn places_in_record<S: AsRef<str>>(&self, names: &[S]) -> Result<Places, String> {
        let text = place(names, self.text.as_deref(), "text")?
            .ok_or_else(|| absent(names, self.text.as_deref(), "text"))?;
        Ok(Places { text, label: place(names, self.label.as_deref(), "label")? })
    }
}

fn same(cell: &str, name: &str) -> bool {
    cell.trim().eq_ignore_ascii_case(name)
}

/// The column that was asked for, or else the one that is called as it should.
fn place<S: AsRef<str>>(
    names: &[S],
    asked: Option<&str>,
    default: &str,
) -> Result<Option<usize>, String> {
    let name = asked.unwrap_or(default);
    if let Some(exact) = names.iter().position(|cell| cell.as_ref() == name) {
        return Ok(Some(exact));
    }
    if asked.is_some() {
        return Ok(None);
    }
    let mut like = (0..names.len()).filter(|&place| same(names[place].as_ref(), default));
    match (like.next(), like.next()) {
        (Some(one), Some(two)) => Err(format!(
            "{:?} and {:?} could both be the {default}; name the column with --{default}-column",
            names[one].as_ref(),
            names[two].as_ref()
        )),
        (found, _) => Ok(found),
    }
}

pub(crate) fn absent<S: AsRef<str>>(names: &[S], asked: Option<&str>, default: &str) -> String {
    // As spreadsheets of many countries write it.
    if let [name] = names
        && name.as_ref().contains(';')
    {
        return format!(
            "there is no column {:?}, but one that is called {}: columns end at commas (in TSV at \
             tabs), not at semicolons; save it so",
            asked.unwrap_or(default),
            list(names)
        );
    }
    format!(
        "there is no column {:?}; the columns are {}: name the one to use with --{default}-column",
        asked.unwrap_or(default),
        list(names)
    )
}

/// Names as a message lists them, not more than a person would read.
pub(crate) fn list<S: AsRef<str>>(names: &[S]) -> String {
    const MOST: usize = 20;
    let short = |name: &S| match name.as_ref().char_indices().nth(40) {
        Some((end, _)) => format!("\"{}…\"", &name.as_ref()[..end]),
        None => format!("{:?}", name.as_ref()),
    };
    let mut listed = names.iter().take(MOST).map(short).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        listed.push_str(&format!(" and {} more", names.len() - MOST));
    }
    if names.is_empty() { "none".to_owned() } else { listed }
}

/// The first name that is there twice.
pub(crate) fn twice<S: AsRef<str>>(names: &[S]) -> Option<&str> {
    let mut seen = std::collections::HashSet::new();
    names.iter().map(AsRef::as_ref).find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: Option<&str>, label: Option<&str>) -> Columns {
        Columns { text: text.map(str::to_owned), label: label.map(str::to_owned) }
    }

    #[test]
    fn names_decide_before_capitals_do() {
        let found = |columns: Columns, names: &[&str]| columns.places(names, true).unwrap();
        let none = asked(None, None);
        assert_eq!(found(none.clone(), &["label", "text"]), Places { text: 1, label: Some(0) });
        assert_eq!(found(none.clone(), &["Text", " LABEL"]), Places { text: 0, label: Some(1) });
        assert_eq!(
            found(none, &["TEXT", "text", "label"]),
            Places { text: 1, label: Some(2) },
            "the exact name wins"
        );
        assert_eq!(
            found(asked(Some("body"), Some("y")), &["y", "text", "body"]),
            Places { text: 2, label: Some(0) }
        );
    }

    #[test]
    fn what_is_missing_is_named_with_what_there_is() {
        let check = |columns: Columns, names: &[&str], expected: &str| {
            let error = columns.places(names, true).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        let none = || asked(None, None);
        check(none(), &["id", "label"], "no column \"text\"; the columns are \"id\", \"label\"");
        check(none(), &["id", "label"], "--text-column");
        check(none(), &["text"], "--label-column");
        check(none(), &["Text", "TEXT", "label"], "\"Text\" and \"TEXT\"");
        check(asked(Some("Body"), None), &["body", "label"], "no column \"Body\"");
        check(asked(Some("label"), None), &["label"], "cannot both be the column \"label\"");
        assert_eq!(
            none().places(&["text", "id"], false),
            Ok(Places { text: 0, label: None }),
            "a label that is not wanted need not be there"
        );
        assert!(asked(None, Some("y")).places(&["text"], false).is_err());
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..300).map(|n| format!("c{n}")).collect();
        let listed = list(&names);
        assert!(listed.ends_with("\"c19\" and 280 more"), "{listed}");
        assert!(list(&["é".repeat(50)]).chars().count() < 45);
        assert_eq!(twice(&["a", "b", "a"]), Some("a"));
        assert_eq!(twice(&["a", "b"]), None);
    }
}
