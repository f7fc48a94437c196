//! JSON Lines files that grow, with a running checksum.

use std::{
    fs::{File, OpenOptions},
    io::{LineWriter, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    checksum::{Sha256, sha256},
    error::{Error, Result},
    json::json_line,
};

/// Length and SHA-256 of what was written to a file at some moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Length in bytes.
    pub bytes: u64,
    sha256: String,
}

impl Written {
    /// Returns the beginning of `file` that was written at that moment, or `None` if the
    /// file is shorter or begins with other bytes.
    pub fn prefix_of<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        let prefix = file.get(..usize::try_from(self.bytes).ok()?)?;
        (sha256(prefix) == self.sha256).then_some(prefix)
    }
}

/// JSON Lines file that grows line by line and knows its own checksum.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: LineWriter<File>,
    bytes: u64,
    hasher: Sha256,
}

impl JsonLines {
    /// Creates an empty file in place of an old one.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn create(path: &Path) -> Result<Self> {
        Self::open(path, OpenOptions::new().write(true).create(true).truncate(true), &[])
    }

    /// Appends to an existing file with this `content`.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn append(path: &Path, content: &[u8]) -> Result<Self> {
        Self::open(path, OpenOptions::new().append(true), content)
    }

    fn open(path: &Path, options: &OpenOptions, content: &[u8]) -> Result<Self> {
        let file = LineWriter::new(options.open(path).map_err(Error::write(path))?);
        let mut hasher = Sha256::new();
        hasher.update(content);
        Ok(Self { path: path.to_owned(), file, bytes: content.len() as u64, hasher })
    }

    /// Appends a value as one line.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write<T: Serialize>(&mut self, value: &T) -> Result<()> {
        let line = json_line(&self.path, value)?;
        self.file.write_all(line.as_bytes()).map_err(Error::write(&self.path))?;
        self.bytes += line.len() as u64;
        self.hasher.update(&line);
        Ok(())
    }

    /// Flushes all lines to the disk.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn sync(&self) -> Result<()> {
        self.file.get_ref().sync_data().map_err(Error::write(&self.path))
    }

    /// Flushes all lines to the disk and returns their length and checksum: a file that
    /// records them can rely on the lines after a power cut.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn written(&self) -> Result<Written> {
        self.sync()?;
        Ok(Written { bytes: self.bytes, sha256: self.hasher.clone().finish() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn appended_file_has_the_checksum_of_the_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        let mut lines = JsonLines::create(&path).unwrap();
        lines.write(&1).unwrap();
        let first = lines.written().unwrap();
        lines.write(&[2, 3]).unwrap();
        let content = fs::read(&path).unwrap();
        assert_eq!(content, b"1\n[2,3]\n");
        assert_eq!(first.prefix_of(&content), Some(&b"1\n"[..]));
        assert_eq!(first.prefix_of(b"2\n[2,3]\n"), None);
        assert_eq!(first.prefix_of(b"1"), None);

        let mut appended = JsonLines::append(&path, &content).unwrap();
        appended.write(&"x").unwrap();
        let all = appended.written().unwrap();
        let content = fs::read(&path).unwrap();
        assert_eq!(all.prefix_of(&content), Some(content.as_slice()));
    }
}
