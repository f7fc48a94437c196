//! Lines of text of limited length.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    table::columns::ColumnError,
};

/// Longest line or CSV record in bytes (16 MiB): a longer one is refused before it fills
/// the memory.
pub const LONGEST_LINE: usize = 16 << 20;

/// Error for a text with a NUL byte.
pub(crate) const NUL: &str = "the text has a NUL byte; remove it";

const BUFFER: usize = 256 << 10;

/// Lines of UTF-8 text, counted from 1.
///
/// ```
/// let mut lines = dataset::Lines::new("a text\r\nanother".as_bytes(), "standard input".into());
/// let mut line = String::new();
/// assert!(lines.next_text(&mut line)?);
/// assert_eq!(line, "a text");
/// # Ok::<(), dataset::Error>(())
/// ```
pub struct Lines {
    source: Box<dyn BufRead + Send>,
    name: PathBuf,
    number: usize,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Lines {
    /// The lines of a stream; messages call it `name`.
    pub fn new(source: impl Read + Send + 'static, name: PathBuf) -> Self {
        Self { source: Box::new(BufReader::with_capacity(BUFFER, source)), name, number: 0 }
    }

    /// What messages call the file.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The number of the line that was read last.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Puts the next line, with the `\n` that ends it, in place of `line`; false
    /// at the end. A byte order mark before the first is left out.
    ///
    /// # Errors
    /// [`Error::Storage`], or [`Error::Line`] for a line that is no UTF-8 or longer
    /// than [`LONGEST_LINE`].
    pub(crate) fn next(&mut self, line: &mut String) -> Result<bool> {
        let mut bytes = std::mem::take(line).into_bytes();
        bytes.clear();
        let most = LONGEST_LINE as u64 + 1;
        (&mut self.source)
            .take(most)
            .read_until(b'\n', &mut bytes)
            .map_err(storage::Error::read(&self.name))?;
        if bytes.is_empty() {
            return Ok(false);
        }
        self.number += 1;
        if bytes.len() > LONGEST_LINE {
            return Err(self.too_long(self.number));
        }
        if self.number == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        *line = String::from_utf8(bytes).map_err(|error| {
            let byte = error.as_bytes()[error.utf8_error().valid_up_to()];
            self.error(self.number, not_utf8(byte))
        })?;
        Ok(true)
    }

    /// Puts the next line, without what ends it, in place of `line`; false at the end.
    ///
    /// # Errors
    /// [`Error::Storage`], or [`Error::Line`] for a line that is no UTF-8, has a NUL byte
    /// or is longer than [`LONGEST_LINE`].
    pub fn next_text(&mut self, line: &mut String) -> Result<bool> {
        let found = self.next_without_end(line)?;
        if line.contains('\0') {
            return Err(self.error(self.number, NUL.to_owned()));
        }
        Ok(found)
    }

    /// As [`Lines::next`], without the line's ending and passing over lines with
    /// nothing else.
    pub(crate) fn next_filled(&mut self, line: &mut String) -> Result<bool> {
        while self.next_without_end(line)? {
            if !line.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn next_without_end(&mut self, line: &mut String) -> Result<bool> {
        let found = self.next(line)?;
        if line.ends_with('\n') {
            line.pop();
        }
        if line.ends_with('\r') {
            line.pop();
        }
        Ok(found)
    }

    /// Returns the error of a line.
    pub(crate) fn error(&self, line: usize, reason: String) -> Error {
        Error::Line { path: self.name.clone(), line, reason }
    }

    /// Returns the error of the columns that a line names.
    pub(crate) fn column_error(&self, line: usize, problem: ColumnError) -> Error {
        Error::Columns { path: self.name.clone(), line: Some(line), problem }
    }

    pub(crate) fn too_long(&self, line: usize) -> Error {
        self.error(line, too_long())
    }
}

pub(crate) fn too_long() -> String {
    format!(
        "it is longer than {} MiB; is this a text file, and is every quote closed?",
        LONGEST_LINE >> 20
    )
}

pub(crate) fn not_utf8(byte: u8) -> String {
    format!("the byte 0x{byte:02x} is not UTF-8; save the file as UTF-8")
}

/// Returns the problem of a line that should be a label, a tab and a text.
pub(crate) fn label_text_problem(tabs: usize, begins_with_tab: bool) -> Option<String> {
    match tabs {
        0 => Some("there is no tab between a label and a text".to_owned()),
        1 if begins_with_tab => Some("there is no label before the tab".to_owned()),
        1 => None,
        _ => Some(format!("there are {tabs} tabs; replace those of the text by spaces")),
    }
}
