//! Errors, each displayed as one sentence.

use std::path::{Path, PathBuf};

use storage::terminal_safe;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A file is damaged, or not a file of tensors.
    #[error("{}: {}", path.display(), terminal_safe(.reason))]
    Format {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
}

impl Error {
    pub(crate) fn format(path: &Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), reason: reason.into() }
    }
}
