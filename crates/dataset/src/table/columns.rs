//! The columns of text and label.

use std::{collections::HashSet, fmt};

use serde::{Deserialize, Serialize};

/// Names of the text and label columns. `None` stands for `text` or `label`, in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Columns {
    /// Column of texts.
    pub text: Option<String>,
    /// Column of labels.
    pub label: Option<String>,
}

/// Purpose of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnRole {
    /// Text to classify.
    Text,
    /// Label of the text.
    Label,
}

impl ColumnRole {
    /// Returns `text` or `label`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Label => "label",
        }
    }
}

impl fmt::Display for ColumnRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text and label columns that a table does not determine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ColumnError {
    /// The table lacks the column.
    #[error("there is no column {name:?}; the columns are {}", list(columns))]
    Missing {
        /// Purpose of the column.
        role: ColumnRole,
        /// Name of the column.
        name: String,
        /// Columns of the table.
        columns: Vec<String>,
    },
    /// Two columns have the requested name.
    #[error("the header has the column {name:?} twice; rename one")]
    Twice {
        /// Name of the columns.
        name: String,
    },
    /// The default name fits two columns.
    #[error("{:?} and {:?} could both be the {role}", columns[0], columns[1])]
    Ambiguous {
        /// Purpose of the column.
        role: ColumnRole,
        /// Names of the columns.
        columns: [String; 2],
    },
    /// Text and label have the same name.
    #[error("text and label cannot both be the column {column:?}")]
    Same {
        /// Name of the column.
        column: String,
    },
}

/// Columns that a reader looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A text column, and a label column if there is one.
    Text,
    /// A text and a label column.
    TextAndLabel,
    /// None: the caller takes whole records.
    Records,
}

impl Wanted {
    /// Returns the columns of labeled text.
    pub fn text(wants_label: bool) -> Self {
        if wants_label { Self::TextAndLabel } else { Self::Text }
    }
}

/// Indices of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub text: Option<usize>,
    pub label: Option<usize>,
}

impl Columns {
    /// Returns whether a column is named.
    pub(crate) fn asked(&self) -> bool {
        self.text.is_some() || self.label.is_some()
    }

    /// Returns whether `names` include the default names, as a header does.
    pub(crate) fn are_header<S: AsRef<str>>(names: &[S], wanted: Wanted) -> bool {
        let has = |name: &str| names.iter().any(|cell| same(cell.as_ref(), name));
        match wanted {
            Wanted::Text => has("text"),
            Wanted::TextAndLabel => has("text") && has("label"),
            Wanted::Records => true,
        }
    }

    /// Finds the columns. The label column may be missing unless it is wanted or named.
    pub(crate) fn places<S: AsRef<str>>(
        &self,
        names: &[S],
        wanted: Wanted,
    ) -> Result<Places, ColumnError> {
        let places = self.places_in_record(names, wanted)?;
        let name = self.label.as_deref();
        match places.label {
            None if wanted == Wanted::TextAndLabel || name.is_some() => {
                Err(missing(names, name, ColumnRole::Label))
            }
            Some(label) if places.text == Some(label) => {
                Err(ColumnError::Same { column: names[label].as_ref().to_owned() })
            }
            _ => Ok(places),
        }
    }

    /// Finds the columns of a record, which need not have a label.
    pub(crate) fn places_in_record<S: AsRef<str>>(
        &self,
        names: &[S],
        wanted: Wanted,
    ) -> Result<Places, ColumnError> {
        if wanted == Wanted::Records {
            if let Some(name) = first_repeated(names) {
                return Err(ColumnError::Twice { name });
            }
            return Ok(Places { text: None, label: None });
        }
        let text = place(names, self.text.as_deref(), ColumnRole::Text)?
            .ok_or_else(|| missing(names, self.text.as_deref(), ColumnRole::Text))?;
        Ok(Places {
            text: Some(text),
            label: place(names, self.label.as_deref(), ColumnRole::Label)?,
        })
    }
}

/// A record has one value of each name. Columns without a name, which spreadsheets write, are no
/// part of it.
fn first_repeated<S: AsRef<str>>(names: &[S]) -> Option<String> {
    let mut seen = HashSet::new();
    let mut names = names.iter().map(AsRef::as_ref).filter(|name| !name.trim().is_empty());
    names.find(|name| !seen.insert(*name)).map(str::to_owned)
}

fn same(cell: &str, name: &str) -> bool {
    cell.trim().eq_ignore_ascii_case(name)
}

/// Finds the column with the name that was given, or else with the default name.
fn place<S: AsRef<str>>(
    names: &[S],
    given: Option<&str>,
    role: ColumnRole,
) -> Result<Option<usize>, ColumnError> {
    let name = given.unwrap_or(role.name());
    let mut exact = (0..names.len()).filter(|&place| names[place].as_ref() == name);
    if let Some(found) = exact.next() {
        return match exact.next() {
            Some(_) => Err(ColumnError::Twice { name: name.to_owned() }),
            None => Ok(Some(found)),
        };
    }
    if given.is_some() {
        return Ok(None);
    }
    let mut similar = (0..names.len()).filter(|&place| same(names[place].as_ref(), name));
    match (similar.next(), similar.next()) {
        (Some(one), Some(two)) => {
            let columns = [one, two].map(|place| names[place].as_ref().to_owned());
            Err(ColumnError::Ambiguous { role, columns })
        }
        (found, _) => Ok(found),
    }
}

fn missing<S: AsRef<str>>(names: &[S], given: Option<&str>, role: ColumnRole) -> ColumnError {
    let name = given.unwrap_or(role.name()).to_owned();
    let columns = names.iter().map(|name| name.as_ref().to_owned()).collect();
    ColumnError::Missing { role, name, columns }
}

/// Lists names for an error message, not more than a person would read.
pub(crate) fn list<S: AsRef<str>>(names: &[S]) -> String {
    const MOST: usize = 20;
    let short = |name: &S| match name.as_ref().char_indices().nth(40) {
        Some((end, _)) => format!("\"{}…\"", name.as_ref()[..end].escape_debug()),
        None => format!("{:?}", name.as_ref()),
    };
    let mut listed = names.iter().take(MOST).map(short).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        listed.push_str(&format!(" and {} more", names.len() - MOST));
    }
    if names.is_empty() { "none".to_owned() } else { listed }
}

/// Returns a name for each column of a data frame, whose names must differ: one that occurs
/// again gets the suffix `_2`, `_3` and so on.
pub(crate) fn distinct<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Vec<String> {
    let mut taken = HashSet::new();
    names.into_iter().map(|name| free_name(&mut taken, name.as_ref())).collect()
}

/// Returns `name`, with a suffix if it is taken, and marks it as taken.
pub(crate) fn free_name(taken: &mut HashSet<String>, name: &str) -> String {
    let mut free = name.to_owned();
    let mut number = 2usize;
    while !taken.insert(free.clone()) {
        free = format!("{name}_{number}");
        number += 1;
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: Option<&str>, label: Option<&str>) -> Columns {
        Columns { text: text.map(str::to_owned), label: label.map(str::to_owned) }
    }

    #[test]
    fn exact_names_win_over_case_insensitive_ones() {
        let found =
            |columns: Columns, names: &[&str]| columns.places(names, Wanted::TextAndLabel).unwrap();
        let none = asked(None, None);
        assert_eq!(
            found(none.clone(), &["label", "text"]),
            Places { text: Some(1), label: Some(0) }
        );
        assert_eq!(
            found(none.clone(), &["Text", " LABEL"]),
            Places { text: Some(0), label: Some(1) }
        );
        assert_eq!(
            found(none, &["TEXT", "text", "label"]),
            Places { text: Some(1), label: Some(2) },
            "the exact name wins"
        );
        assert_eq!(
            found(asked(Some("body"), Some("y")), &["y", "text", "body"]),
            Places { text: Some(2), label: Some(0) }
        );
    }

    #[test]
    fn missing_column_is_named_with_the_existing_columns() {
        let check = |columns: Columns, names: &[&str], expected: &str| {
            let error = columns.places(names, Wanted::TextAndLabel).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let none = || asked(None, None);
        check(none(), &["id", "label"], "no column \"text\"; the columns are \"id\", \"label\"");
        check(none(), &["text"], "no column \"label\"; the columns are \"text\"");
        check(none(), &["text", "a", "text", "label"], "column \"text\" twice");
        check(asked(Some("a"), None), &["a", "a", "label"], "column \"a\" twice");
        check(none(), &["Text", "TEXT", "label"], "\"Text\" and \"TEXT\"");
        check(asked(Some("Body"), None), &["body", "label"], "no column \"Body\"");
        check(asked(Some("label"), None), &["label"], "cannot both be the column \"label\"");
        assert_eq!(
            none().places(&["text", "id"], Wanted::Text),
            Ok(Places { text: Some(0), label: None }),
            "a label that is not wanted need not be there"
        );
        assert!(asked(None, Some("y")).places(&["text"], Wanted::Text).is_err());
        let record = |names: &[&str]| none().places(names, Wanted::Records).is_ok();
        assert!(record(&["prompt", "", "completion", ""]));
        assert!(!record(&["prompt", "completion", "prompt"]));
    }

    #[test]
    fn long_lists_are_truncated() {
        let names: Vec<String> = (0..300).map(|n| format!("c{n}")).collect();
        let listed = list(&names);
        assert!(listed.ends_with("\"c19\" and 280 more"), "{listed}");
        assert!(list(&["é".repeat(50)]).chars().count() < 45);
        assert_eq!(distinct(["a", "", "a", "a_2", ""]), ["a", "", "a_2", "a_2_2", "_2"]);
    }
}
