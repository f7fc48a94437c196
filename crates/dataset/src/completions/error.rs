//! Errors of examples for language models.

use std::path::PathBuf;

use crate::table::columns::list;

/// Examples for a language model that cannot be used for training.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompletionError {
    /// The columns of a table fit no known schema.
    #[error(
        "{}: unknown schema, expected the columns text, or prompt and completion, or instruction \
         and output (with an optional input), or messages, got {}", path.display(), list(columns)
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Columns of the table.
        columns: Vec<String>,
    },
    /// A column that was named does not exist.
    #[error("{}: there is no column {name:?}; the columns are {}", path.display(), list(columns))]
    Column {
        /// The file.
        path: PathBuf,
        /// Name of the column.
        name: String,
        /// Columns of the table.
        columns: Vec<String>,
    },
    /// A column that was named is not part of the schema.
    #[error(
        "{}: the column {name:?} has no effect, because the data has the schema {schema}",
        path.display()
    )]
    Unused {
        /// The file.
        path: PathBuf,
        /// Name of the column.
        name: String,
        /// Schema of the data.
        schema: &'static str,
    },
    /// A template is malformed.
    #[error("template {name}: {reason}")]
    Template {
        /// File of the template, or its description.
        name: String,
        /// Problem, with the line of the template.
        reason: String,
    },
    /// A template cannot be rendered for an example.
    #[error("template {name}: cannot be rendered for {place}: {reason}")]
    Render {
        /// File of the template, or its description.
        name: String,
        /// File and line of the example.
        place: String,
        /// Problem, with the line of the template.
        reason: String,
    },
    /// A prompt template is given for data without a completion.
    #[error(
        "{}: a prompt template needs a completion, expected a column completion or output, got \
         the schema {schema}", path.display()
    )]
    NoCompletion {
        /// The file.
        path: PathBuf,
        /// Schema of the data.
        schema: &'static str,
    },
    /// No example is left to train on.
    #[error("{}: {}", path.display(), no_examples(*rows, *empty))]
    NoExamples {
        /// The file.
        path: PathBuf,
        /// Rows of the table.
        rows: usize,
        /// Rows without a completion.
        empty: usize,
    },
    /// There are too few examples for a training and a validation set.
    #[error(
        "{}: too few examples, expected at least 2, one of them for validation, got {examples}",
        path.display()
    )]
    TooFew {
        /// The file.
        path: PathBuf,
        /// Number of examples.
        examples: usize,
    },
    /// Every example of a set was dropped, because its prompt is too long.
    #[error(
        "{set} set: the prompt of every example fills the maximum length of {max_length} tokens, \
         so that no completion is left"
    )]
    AllDropped {
        /// Name of the set.
        set: &'static str,
        /// Maximum sequence length in tokens.
        max_length: usize,
    },
}

fn no_examples(rows: usize, empty: usize) -> String {
    if rows == 0 {
        return "there is no row in it".to_owned();
    }
    format!(
        "there is no example to learn from: {empty} of {rows} have an empty text, completion or answer"
    )
}
