//! Lock on the directory of a run.

use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    run::error::RunDirectoryError,
};

/// Exclusive lock on a directory, where the file system supports locks. It ends with the
/// process. Directories that were created for it are removed on drop if they are empty.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    /// Created directories, innermost first.
    created: Vec<PathBuf>,
    /// Holds the lock while it is open. Locking the directory itself leaves no lock file.
    lock: Option<File>,
}

impl DirectoryLock {
    /// Creates the directory if it is missing, and locks it.
    pub fn new(directory: &Path) -> Result<Self> {
        let failed = |error| Error::from(storage::Error::write(directory)(error));
        if directory.is_file() {
            return Err(RunDirectoryError::NotADirectory { path: directory.to_owned() }.into());
        }
        let missing = directory.ancestors().take_while(|path| !path.exists());
        let missing: Vec<_> = missing.filter(|path| !path.as_os_str().is_empty()).collect();
        let created = missing.into_iter().map(Path::to_owned).collect();
        // From here on, created directories are removed again.
        let mut locked = Self { created, lock: None };
        loop {
            storage::create_directory(directory)?;
            let lock = match File::open(directory) {
                Ok(file) => file,
                // Some systems cannot open a directory.
                Err(_) if cfg!(not(unix)) => return Ok(locked),
                Err(error) => return Err(failed(error)),
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(RunDirectoryError::Locked { path: directory.to_owned() }.into());
                }
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(locked);
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Another process may have removed the directory before it was locked.
            if is_same(directory, &lock) {
                locked.lock = Some(lock);
                return Ok(locked);
            }
        }
    }
}

/// Returns whether an open directory still has its name.
#[cfg(unix)]
fn is_same(directory: &Path, lock: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (fs::metadata(directory), lock.metadata()) {
        (Ok(named), Ok(open)) => identity(named) == identity(open),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same(_: &Path, _: &File) -> bool {
    true
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        for directory in &self.created {
            // Fails if the directory is not empty.
            let _ = fs::remove_dir(directory);
        }
        self.lock = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_lock_on_a_directory_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let (one, other) = (parent.path().join("a/one"), parent.path().join("a/other"));
        let first = DirectoryLock::new(&one).unwrap();
        let error = DirectoryLock::new(&one).unwrap_err();
        let locked = RunDirectoryError::Locked { path: one.clone() };
        assert!(matches!(&error, Error::RunDirectory(error) if *error == locked), "{error}");
        let second = DirectoryLock::new(&other).unwrap();
        drop(first);
        drop(DirectoryLock::new(&one).unwrap());
        drop(second);
    }

    #[test]
    fn empty_created_directories_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let created = parent.path().join("one/two/created");
        drop(DirectoryLock::new(&created).unwrap());
        assert!(!parent.path().join("one").exists());
        let lock = DirectoryLock::new(&created).unwrap();
        fs::write(created.join("result"), "").unwrap();
        drop(lock);
        assert!(created.join("result").exists());
        drop(DirectoryLock::new(parent.path()).unwrap());
        let existing = parent.path().join("existing");
        fs::create_dir(&existing).unwrap();
        drop(DirectoryLock::new(&existing).unwrap());
        assert!(existing.exists());
    }
}
