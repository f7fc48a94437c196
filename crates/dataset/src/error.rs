//! Errors of reading, splitting and writing labeled text.

use std::{
    fmt::{self, Display, Formatter},
    path::{Path, PathBuf},
};

use storage::terminal_safe;

use crate::{
    batches::error::BatchError,
    completions::error::CompletionError,
    corpus::error::CorpusError,
    random::error::StateError,
    split::error::SplitError,
    table::{
        Encoding,
        columns::{ColumnError, list},
        error::{TableOptionError, TableWriterError},
    },
};

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
    /// A line is not UTF-8.
    #[error("{}, line {line}: the byte 0x{byte:02x} is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The first byte that does not belong.
        byte: u8,
    },
    /// The first bytes are in another encoding than the given one.
    #[error("{}: expected the encoding {given}, got {sign}", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The given encoding.
        given: Encoding,
        /// The encoding of the first bytes.
        found: Encoding,
        /// The feature of the first bytes by which it is recognized.
        sign: &'static str,
    },
    /// A quotation mark of CSV or TSV is misplaced.
    #[error("{}, line {line}: {problem}", path.display())]
    Quotes {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The problem.
        problem: QuoteProblem,
    },
    /// The first line of a table without a header looks like one.
    #[error("{}, line {line}: it looks like a header: {}", path.display(), terminal_safe(.cells))]
    Header {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Its cells.
        cells: String,
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
    /// Most labels have a single row, so they are not classes.
    #[error(
        "{}{singletons} of {labels} labels have a single row, for example {}, from which nothing can \
         be learned{}", place(path.as_deref()), list(&[example]),
        if texts < labels {
            format!("; there are only {texts} different texts, so the columns of text and label \
                     may be swapped")
        } else {
            String::new()
        }
    )]
    SingleRowLabels {
        /// The file; `None` for rows in memory.
        path: Option<PathBuf>,
        /// Labels of a single row.
        singletons: usize,
        /// Different labels.
        labels: usize,
        /// Different texts.
        texts: usize,
        /// One of the labels of a single row.
        example: String,
    },
    /// The label of a row is unknown to the classifier or to the training set.
    #[error(
        "{}, {position}: unknown label {}; {} has the labels {}", path.display(), list(&[label]),
        terminal_safe(.of), list(labels)
    )]
    UnknownLabel {
        /// The file.
        path: PathBuf,
        /// The row.
        position: Position,
        /// The label.
        label: String,
        /// Owner of the known labels: the classifier or the training set.
        of: String,
        /// Labels that are known.
        labels: Vec<String>,
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
    /// A data frame cannot be computed.
    #[error("data frame: {}", terminal_safe(&.0.to_string()))]
    Frame(#[from] polars::prelude::PolarsError),
    /// An option of a table is invalid.
    #[error(transparent)]
    TableOption(#[from] TableOptionError),
    /// A table cannot be written as requested.
    #[error(transparent)]
    TableWriter(#[from] TableWriterError),
    /// A validation file is given without a test file.
    #[error("{}: a validation set without a test set, expected both or neither", path.display())]
    ValidationWithoutTest {
        /// File of the validation set.
        path: PathBuf,
    },
    /// There are fewer than two labels.
    #[error(
        "{}expected examples of at least two labels, but {}", place(path.as_deref()),
        match label {
            Some(label) => format!("every example has the label {}", list(&[label])),
            None => "there is no example".to_owned(),
        }
    )]
    TooFewLabels {
        /// The file; `None` for examples in memory.
        path: Option<PathBuf>,
        /// The only label, if there is an example.
        label: Option<String>,
    },
    /// Examples cannot be split.
    #[error("{}{problem}", place(path.as_deref()))]
    Split {
        /// The file; `None` for examples in memory.
        path: Option<PathBuf>,
        /// The problem.
        problem: SplitError,
    },
    /// A training set without examples.
    #[error("training set: expected at least one example, got none")]
    EmptyTrainingSet,
    /// Batches cannot be made of a set.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Plain text cannot be used for training.
    #[error("{}{problem}", places(files))]
    Corpus {
        /// The files; none for text in memory.
        files: Vec<PathBuf>,
        /// The problem.
        problem: CorpusError,
    },
    /// Examples of a language model cannot be used for training.
    #[error("{}", terminal_safe(&.0.to_string()))]
    Completions(#[from] CompletionError),
    /// A file of a tokenizer is damaged.
    #[error("{}: expected a tokenizer of Hugging Face, got a file that cannot be used: {}", path.display(), terminal_safe(reason))]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A special token in the settings of a model is not given by its number.
    #[error(
        "{}: {name}: expected the id of a token{} or null, got {}; correct or remove it in the file",
        path.display(), if *may_be_list { ", a list of ids" } else { "" }, terminal_safe(value)
    )]
    SpecialToken {
        /// The file.
        path: PathBuf,
        /// Name of the setting.
        name: &'static str,
        /// True if several tokens may have this role.
        may_be_list: bool,
        /// Beginning of the value.
        value: String,
    },
    /// The tokenizer of a model is a model of SentencePiece.
    #[error(
        "{}: expected tokenizer.json beside the model of SentencePiece; write it with AutoTokenizer.from_pretrained(…).save_pretrained(…) of transformers",
        path.display()
    )]
    SentencePiece {
        /// The file.
        path: PathBuf,
    },
    /// No file of a model names the token that ends a text.
    #[error(
        "{}: expected an end-of-text token of the tokenizer, got none; set eos_token_id in config.json",
        folder.display()
    )]
    EndOfText {
        /// The model directory.
        folder: PathBuf,
    },
    /// A saved state does not belong to this generator.
    #[error("state of the random number generator: damaged, {0}")]
    State(#[from] StateError),
}

impl Error {
    /// Returns the error of a row.
    pub fn at(path: &Path, position: Position, reason: String) -> Self {
        let path = path.to_owned();
        match position {
            Position::Line(line) => Self::Line { path, line, reason },
            Position::Row(row) => Self::Row { path, row, reason },
        }
    }
}

/// Position of a row of a table in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The first line of the row, from 1.
    Line(usize),
    /// The row, from 1, in a format without lines; a header does not count.
    Row(usize),
}

impl Display for Position {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

fn place(path: Option<&Path>) -> String {
    path.map(|path| format!("{}: ", path.display())).unwrap_or_default()
}

/// Names the first file and counts the rest.
fn places(files: &[PathBuf]) -> String {
    let more = files.len().saturating_sub(1);
    match files.first() {
        Some(first) if more > 0 => format!("{} and {more} more files: ", first.display()),
        first => place(first.map(PathBuf::as_path)),
    }
}

impl From<CorpusError> for Error {
    fn from(problem: CorpusError) -> Self {
        Self::Corpus { files: Vec::new(), problem }
    }
}

/// Problem of a quotation mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteProblem {
    /// A quoted cell never ends.
    #[error(
        "the record that begins here has a quote that is never closed; double every quote within \
         a cell"
    )]
    Open,
    /// Text follows the end of a quoted cell.
    #[error(
        "text follows the closing quote of a cell that opens in line {opened}; double every \
         quote within a cell"
    )]
    Behind {
        /// The line in which the cell begins, from 1.
        opened: usize,
    },
    /// Quotation marks of TSV could be around cells or text.
    #[error(
        "a cell of this line looks quoted, but the file reads like a table without quoting; quote \
         its cells alike"
    )]
    Ambiguous,
}

#[cfg(test)]
mod tests;
