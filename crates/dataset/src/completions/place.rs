//! Place of an example in its file, for messages.

use std::{fmt, path::Path, sync::Arc};

use crate::{
    error::{Error, Position},
    table::Chunk,
};

/// Place of an example in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: Arc<Path>,
    position: Position,
}

impl Place {
    /// Place of a row of a chunk.
    pub(crate) fn of(chunk: &Chunk, index: usize) -> Self {
        Self { path: Arc::clone(&chunk.source), position: chunk.position(index) }
    }

    /// Returns the error of an example.
    pub fn error(&self, reason: String) -> Error {
        Error::at(&self.path, self.position, reason)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.path.display(), self.position)
    }
}
