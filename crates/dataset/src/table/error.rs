//! Errors of table options and of writing tables.

use std::path::PathBuf;

use super::{format::Format, options::Encoding};

/// Invalid option of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableOptionError {
    /// Unknown format.
    #[error("table format: expected one of {}, got {name:?}", Format::ALL.map(Format::name).join(", "))]
    Format {
        /// Name of the format.
        name: String,
    },
    /// The separator is not a single character.
    #[error("separator: expected tab, comma, semicolon, pipe or one ASCII character, got {text:?}")]
    Separator {
        /// The separator.
        text: String,
    },
    /// The quote character is not a punctuation mark.
    #[error("quote character: expected none or one punctuation mark, got {text:?}")]
    QuoteChar {
        /// The quote character.
        text: String,
    },
    /// Unknown encoding.
    #[error("encoding: expected {} or windows-1252, got {name:?}", Encoding::NAMES.join(", "))]
    Encoding {
        /// Name of the encoding.
        name: String,
    },
    /// The separator, given or detected, is the quote character.
    #[error(
        "{}: expected different characters as separator and quote character, got {character:?} \
         for both",
        path.display()
    )]
    SeparatorIsQuoteChar {
        /// The file.
        path: PathBuf,
        /// The character.
        character: char,
    },
    /// No file is given.
    #[error("files: expected at least one, got none")]
    NoFile,
}

/// Table that cannot be written as requested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableWriterError {
    /// Parquet in a stream.
    #[error("{}: Parquet cannot be written to a stream, expected a file", name.display())]
    ParquetStream {
        /// Name of the stream.
        name: PathBuf,
    },
    /// An added column has too many or too few values.
    #[error("added column {column:?}: expected a value for each of {rows} rows, got {values}")]
    AddedValues {
        /// Name of the column.
        column: String,
        /// Values of the column.
        values: usize,
        /// Rows of the chunk.
        rows: usize,
    },
    /// A later chunk has more or fewer added columns than the first one.
    #[error("added columns: expected {expected}, as in the first chunk, got {added}")]
    AddedColumns {
        /// Columns of this chunk.
        added: usize,
        /// Columns of the first chunk.
        expected: usize,
    },
}
