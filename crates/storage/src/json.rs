//! JSON files, written atomically.

use std::path::Path;

use serde::Serialize;

use crate::{
    atomic::{create_atomic, write_atomic},
    error::{Error, Result},
};

/// Writes a value as indented JSON with a final newline, atomically.
///
/// # Errors
/// [`Error::Write`].
pub fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    write_atomic(path, indented(path, value)?.as_bytes())
}

/// As [`write_json`], unless the file exists ([`create_atomic`]).
///
/// # Errors
/// [`Error::Write`].
pub fn create_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    create_atomic(path, indented(path, value)?.as_bytes())
}

fn indented<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    Ok(text.map_err(|error| Error::write(path)(error.into()))? + "\n")
}

/// Writes values as JSON Lines (one value per line), atomically.
///
/// # Errors
/// [`Error::Write`].
pub fn write_json_lines<T: Serialize>(
    path: &Path,
    values: impl IntoIterator<Item = T>,
) -> Result<()> {
    let lines: String =
        values.into_iter().map(|value| json_line(path, &value)).collect::<Result<_>>()?;
    write_atomic(path, lines.as_bytes())
}

/// Returns a value as one line of JSON; `path` is the file of the error.
pub(crate) fn json_line<T: Serialize>(path: &Path, value: &T) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|error| Error::write(path)(error.into()))?;
    Ok(text + "\n")
}
