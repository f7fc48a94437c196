//! Errors of reading, splitting and writing labeled text.

use std::path::PathBuf;

use storage::terminal_safe;

use crate::table::columns::{ColumnError, list};

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of this crate. Each message includes its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory cannot be read or written.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A line is malformed.
    #[error("{}, line {line}: {}", path.display(), terminal_safe(.reason))]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Problem and remedy.
        reason: String,
    },
    /// A row of a table is malformed.
    #[error("{}, row {row}: {}", path.display(), terminal_safe(.reason))]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, from 1; a header does not count.
        row: usize,
        /// Problem and remedy.
        reason: String,
    },
    /// A file as a whole cannot be used.
    #[error("{}: {}", path.display(), terminal_safe(.reason))]
    Table {
        /// The file.
        path: PathBuf,
        /// Problem and remedy.
        reason: String,
    },
    /// A table does not determine the columns of text and label.
    #[error(
        "{}{}: {}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default(),
        terminal_safe(&problem.to_string())
    )]
    Columns {
        /// The file.
        path: PathBuf,
        /// The line that names the columns, from 1.
        line: Option<usize>,
        /// The problem.
        problem: ColumnError,
    },
    /// Every row of a table has a different label.
    #[error(
        "{}: each of its {rows} rows has a label of its own, from which nothing can be learned",
        path.display()
    )]
    UniqueLabels {
        /// The file.
        path: PathBuf,
        /// Rows with a text and a label.
        rows: usize,
    },
    /// No row of a table has both a text and a label.
    #[error(
        "{}: there is no row to learn from: of {rows} rows {without_text} have no text and \
         {without_label} no label, and the columns are {}", path.display(), list(columns)
    )]
    NoExamples {
        /// The file.
        path: PathBuf,
        /// Rows of the table.
        rows: usize,
        /// Rows without a text.
        without_text: usize,
        /// Rows with a text and without a label.
        without_label: usize,
        /// Columns of the table.
        columns: Vec<String>,
    },
    /// A setting has no meaning, or does not fit the data.
    #[error("{}", terminal_safe(.0))]
    Config(String),
    /// A saved state does not belong to this generator.
    #[error("the saved state of the random number generator is damaged: {0}")]
    State(String),
}
