//! Schemas of examples for language models, detected from the columns of a table.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use super::error::CompletionError;

/// Schema of examples for a language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schema {
    /// A text, learned as a whole.
    Text,
    /// A prompt and its completion: strings, or lists of messages.
    PromptCompletion,
    /// An instruction, an optional input, and the output (Stanford Alpaca).
    Instruction,
    /// A conversation: a list of messages, each with a role and a content.
    Messages,
}

impl Schema {
    /// Returns the name, which lists the columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::PromptCompletion => "prompt/completion",
            Self::Instruction => "instruction/input/output",
            Self::Messages => "messages",
        }
    }

    /// Returns whether examples have a prompt that is not learned by default.
    pub fn has_prompt(self) -> bool {
        self != Self::Text
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names of columns; `None` stands for the usual name, in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletionColumns {
    /// Column of texts: `text`.
    pub text: Option<String>,
    /// Column of prompts: `prompt`.
    pub prompt: Option<String>,
    /// Column of completions: `completion`, or `output` of instructions.
    pub completion: Option<String>,
}

/// Schema of a table, and the names of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Detected {
    pub schema: Schema,
    /// Text, prompt, instruction or messages; none where a template replaces the prompt.
    pub input: Option<String>,
    /// Completion or output.
    pub completion: Option<String>,
}

/// Detects the schema of a table. `is_templated` if a prompt template is given, which reads any
/// column.
pub(crate) fn detect(
    path: &Path,
    names: &[String],
    columns: &CompletionColumns,
    is_templated: bool,
) -> Result<Detected, CompletionError> {
    let named = |name: &Option<String>| match name {
        Some(name) if !names.contains(name) => Err(CompletionError::Column {
            path: path.to_owned(),
            name: name.clone(),
            columns: names.to_vec(),
        }),
        name => Ok(name.clone()),
    };
    let (text, prompt) = (named(&columns.text)?, named(&columns.prompt)?);
    let completion = named(&columns.completion)?;
    let usual = |name: &str| find(names.iter(), name).cloned();
    let found = |schema, input, completion| {
        let detected = Detected { schema, input, completion };
        let used = [&detected.input, &detected.completion];
        let named = [&columns.text, &columns.prompt, &columns.completion].into_iter().flatten();
        let mut unused = named.filter(|name| !used.contains(&&Some((*name).clone())));
        match unused.next() {
            Some(name) => {
                let (path, name) = (path.to_owned(), name.clone());
                Err(CompletionError::Unused { path, name, schema: schema.name() })
            }
            None => Ok(detected),
        }
    };
    let prompt = prompt.or_else(|| usual("prompt"));
    if text.is_some() {
        return found(Schema::Text, text, None);
    }
    if let (Some(completion), true) = (&completion, is_templated || prompt.is_some()) {
        return found(Schema::PromptCompletion, prompt, Some(completion.clone()));
    }
    if let Some(messages) = usual("messages") {
        return found(Schema::Messages, Some(messages), None);
    }
    if let (true, Some(completion)) =
        (prompt.is_some() || is_templated, completion.clone().or_else(|| usual("completion")))
    {
        return found(Schema::PromptCompletion, prompt, Some(completion));
    }
    if let (Some(instruction), Some(output)) =
        (usual("instruction"), completion.or_else(|| usual("output")))
    {
        return found(Schema::Instruction, Some(instruction), Some(output));
    }
    match usual("text") {
        Some(text) => found(Schema::Text, Some(text), None),
        None => Err(CompletionError::Schema { path: path.to_owned(), columns: names.to_vec() }),
    }
}

/// Detects the columns of the prompts of a table that is to be continued: the column `name` if that is
/// given, else all columns if a template of prompts `reads_columns` of it, else the usual ones, else all
/// columns if a template `is_custom`.
pub(crate) fn detect_prompt(
    path: &Path,
    names: &[String],
    name: Option<&str>,
    [is_custom, reads_columns]: [bool; 2],
) -> Result<Detected, CompletionError> {
    let all = || Ok(Detected { schema: Schema::PromptCompletion, input: None, completion: None });
    let usual = [
        (Schema::Messages, "messages"),
        (Schema::PromptCompletion, "prompt"),
        (Schema::Instruction, "instruction"),
    ];
    let (schema, input) = match name {
        Some(name) => (Schema::PromptCompletion, names.iter().find(|it| *it == name).cloned()),
        None if reads_columns => return all(),
        None => {
            let found = |(schema, name)| Some((schema, Some(find(names.iter(), name)?.clone())));
            usual.into_iter().find_map(found).unwrap_or((Schema::PromptCompletion, None))
        }
    };
    let Some(input) = input else {
        if is_custom && name.is_none() {
            return all();
        }
        return Err(CompletionError::Column {
            path: path.to_owned(),
            name: name.unwrap_or("prompt").to_owned(),
            columns: names.to_vec(),
        });
    };
    Ok(Detected { schema, input: Some(input), completion: None })
}

/// Finds a column by its usual name, in any case where no column has exactly this one.
pub(super) fn find<'n>(
    mut names: impl Iterator<Item = &'n String> + Clone,
    name: &str,
) -> Option<&'n String> {
    let exact = names.clone().find(|column| *column == name);
    exact.or_else(|| names.find(|column| column.trim().eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(names: &[&str], columns: &CompletionColumns, is_templated: bool) -> String {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        match detect(Path::new("a.csv"), &names, columns, is_templated) {
            Ok(Detected { schema, input, completion }) => {
                format!("{schema}: {input:?} {completion:?}").replace("Some(", "(")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn schemas_follow_from_the_columns() {
        let usual = CompletionColumns::default();
        for (names, expected) in [
            (&["id", "text"][..], r#"text: ("text") None"#),
            (&["Prompt", "Completion"], r#"prompt/completion: ("Prompt") ("Completion")"#),
            (
                // Alpaca has all of them.
                &["instruction", "input", "output", "text"],
                r#"instruction/input/output: ("instruction") ("output")"#,
            ),
            (&["prompt", "messages"], r#"messages: ("messages") None"#),
        ] {
            assert_eq!(detected(names, &usual, false), expected);
        }
        let error = detected(&["question", "answer"], &usual, false);
        assert!(error.contains("instruction and output"), "{error}");
        assert!(error.ends_with(r#"got "question", "answer""#), "{error}");
    }

    #[test]
    fn named_columns_decide() {
        let named = |prompt: Option<&str>, completion: Option<&str>| CompletionColumns {
            text: None,
            prompt: prompt.map(str::to_owned),
            completion: completion.map(str::to_owned),
        };
        let names = ["question", "answer", "text"];
        assert_eq!(
            detected(&names, &named(Some("question"), Some("answer")), false),
            r#"prompt/completion: ("question") ("answer")"#
        );
        assert_eq!(
            detected(&names, &named(None, Some("answer")), true),
            r#"prompt/completion: None ("answer")"#
        );
        let error = detected(&["messages", "answer"], &named(None, Some("answer")), false);
        assert!(error.contains("column \"answer\" has no effect"), "{error}");
        let error = detected(&names, &named(Some("query"), None), false);
        assert!(error.contains(r#"no column "query"; the columns are "question""#), "{error}");
    }
}
