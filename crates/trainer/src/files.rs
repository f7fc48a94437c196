//! Files that are there whole or not at all.

use std::{
    io::{self, Write},
    path::Path,
};

use atomic_write_file::AtomicWriteFile;
use serde::Serialize;

use crate::error::{Error, Result};

/// Writes beside the file and renames.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicWriteFile::open(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// As [`write`], for a file of a run.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes).map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// A value as JSON for people: indented, with a newline at the end.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let mut text = serde_json::to_string_pretty(value).map_err(|error| failed(error.into()))?;
    text.push('\n');
    write(path, text.as_bytes()).map_err(failed)
}

/// Values as JSON, one a line.
pub(crate) fn write_jsonl<T: Serialize>(
    path: &Path,
    values: impl IntoIterator<Item = T>,
) -> Result<()> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let mut text = String::new();
    for value in values {
        text += &serde_json::to_string(&value).map_err(|error| failed(error.into()))?;
        text.push('\n');
    }
    write(path, text.as_bytes()).map_err(failed)
}
