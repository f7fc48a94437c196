//! Lines of text of limited length.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::error::{Error, Result};

/// Longest line or record in bytes (16 MiB): a longer one is refused before it fills the
/// memory.
pub const LONGEST_LINE: usize = 16 << 20;

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
    /// Compression and encoding that were detected.
    pub(crate) layers: Vec<&'static str>,
    /// Malformed UTF-8 sequences that were replaced so far.
    pub(crate) replaced: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Lines {
    /// Returns the lines of a stream, which errors call `name`.
    pub fn new(source: impl Read + Send + 'static, name: PathBuf) -> Self {
        let source = Box::new(BufReader::with_capacity(BUFFER, source));
        Self { source, name, number: 0, layers: Vec::new(), replaced: Arc::default() }
    }

    /// Returns the name of the file in errors.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Returns what was detected and replaced so far, one sentence each.
    pub fn notes(&self) -> Vec<String> {
        let replaced = self.replaced.load(Ordering::Relaxed);
        let lossy = (replaced > 0)
            .then(|| format!("{replaced} malformed UTF-8 sequences were replaced by U+FFFD"));
        let layers = (!self.layers.is_empty()).then(|| self.layers.join(", "));
        let notes = layers.into_iter().chain(lossy);
        notes.map(|note| format!("{}: {note}", self.name.display())).collect()
    }

    /// Returns the number of the line that was read last.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Replaces `line` by the next line, with its `\n`; returns false at the end. A byte order
    /// mark before the first line is left out.
    ///
    /// # Errors
    /// [`Error::Storage`]; [`Error::NotUtf8`]; [`Error::Line`] for a line longer than
    /// [`LONGEST_LINE`].
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
            Error::NotUtf8 { path: self.name.clone(), line: self.number, byte }
        })?;
        Ok(true)
    }

    /// Replaces `line` by the next line, without its ending; returns false at the end.
    ///
    /// # Errors
    /// [`Error::Storage`]; [`Error::NotUtf8`]; [`Error::Line`] for a line that has a NUL byte
    /// or is longer than [`LONGEST_LINE`].
    pub fn next_text(&mut self, line: &mut String) -> Result<bool> {
        let found = self.next(line)?;
        line.truncate(without_end(line).len());
        if line.contains('\0') {
            return Err(self.error(self.number, "the text has a NUL byte; remove it".to_owned()));
        }
        Ok(found)
    }

    /// Returns the error of a line.
    pub(crate) fn error(&self, line: usize, reason: String) -> Error {
        Error::Line { path: self.name.clone(), line, reason }
    }

    pub(crate) fn too_long(&self, line: usize) -> Error {
        self.error(line, too_long())
    }
}

/// Returns a line without the `\n` or `\r\n` that ends it.
pub(crate) fn without_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

pub(crate) fn too_long() -> String {
    format!(
        "it is longer than {} MiB; is this a text file, and is every quote closed?",
        LONGEST_LINE >> 20
    )
}

/// Returns bytes without a byte order mark of UTF-8 at their beginning.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}
