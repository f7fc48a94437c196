//! Files that are replaced as a whole.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use atomic_write_file::AtomicWriteFile;

use crate::error::{Error, Result};

/// File under construction that takes its name on [`AtomicFile::commit`].
///
/// The bytes go to a temporary file in the same directory. Committing flushes them to
/// the disk, renames the file and flushes the directory, so that a power cut leaves
/// either the old file or the new one. A file that is dropped without a commit leaves
/// the old one in place.
#[derive(Debug)]
pub struct AtomicFile {
    file: AtomicWriteFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Creates the temporary file for `path`.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn create(path: &Path) -> Result<Self> {
        let file = AtomicWriteFile::open(path).map_err(Error::write(path))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Flushes the bytes to the disk and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn commit(self) -> Result<()> {
        self.file.commit().map_err(Error::write(self.path))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Replaces the file `path` by `bytes`, atomically and durably.
///
/// # Errors
/// [`Error::Write`].
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(Error::write(path))?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn uncommitted_file_leaves_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write_atomic(&path, b"old").unwrap();
        AtomicFile::create(&path).unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn error_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("absent/a");
        let error = write_atomic(&path, b"").unwrap_err();
        assert_eq!((error.path(), error.kind()), (path.as_path(), io::ErrorKind::NotFound));
        assert!(error.to_string().starts_with("cannot write "), "{error}");
    }
}
