//! What can go wrong, each in one sentence.

use std::{io, path::PathBuf};

use crate::plain::plain;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate. The message of each holds its
/// cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file of messages does not exist.
    #[error(
        "there is no file {}: `cargo xtask fetch-dataset` fetches the SMS Spam Collection to \
         datasets/sms-spam/SMSSpamCollection", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason the system gave.
        cause: io::Error,
    },
    /// A file or its folder could not be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The reason the system gave.
        cause: io::Error,
    },
    /// A line is not a message.
    #[error("{}, line {line}: {}", path.display(), plain(.reason))]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// A row of a table is not one.
    #[error("{}, row {row}: {}", path.display(), plain(.reason))]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, from 1; a header does not count.
        row: usize,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// A file as a whole is not a table of messages.
    #[error("{}: {}", path.display(), plain(.reason))]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// A setting has no meaning, or does not fit the data.
    #[error("{}", plain(.0))]
    Config(String),
    /// A saved state is not one of this generator.
    #[error("the saved state of the random number generator is damaged: {0}")]
    State(String),
}
