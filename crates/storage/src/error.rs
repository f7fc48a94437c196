//! Errors of file access.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Failed access to a file or directory, with its path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Reason given by the operating system.
        source: io::Error,
    },
    /// A file or directory could not be created or written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Reason given by the operating system.
        source: io::Error,
    },
}

impl Error {
    /// Turns an I/O error into [`Error::Read`], for `map_err`.
    pub fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Read { path: path.into(), source }
    }

    /// Turns an I/O error into [`Error::Write`], for `map_err`.
    pub fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Write { path: path.into(), source }
    }

    /// Returns the kind of the I/O error: `NotFound`, `FileTooLarge`, …
    pub fn kind(&self) -> io::ErrorKind {
        let (Self::Read { source, .. } | Self::Write { source, .. }) = self;
        source.kind()
    }

    /// Returns the I/O error without the path, for an error that names the file itself.
    pub fn into_io(self) -> io::Error {
        let (Self::Read { source, .. } | Self::Write { source, .. }) = self;
        source
    }

    /// Returns the file or directory.
    pub fn path(&self) -> &Path {
        let (Self::Read { path, .. } | Self::Write { path, .. }) = self;
        path
    }
}

#[cfg(test)]
mod tests;
