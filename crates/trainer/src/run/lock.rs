//! The folder of a run, while a program is at work in it.

use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// A folder that no other run may work in meanwhile, where the file system can lock. The
/// end of the process, however it comes, ends the claim. Folders that were made for it and
/// got no file are taken away.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    /// The innermost first.
    made: Vec<PathBuf>,
    /// Holds the lock as long as it is open. A lock on the folder itself needs no file
    /// that would be left over.
    lock: Option<File>,
}

impl DirectoryLock {
    /// Makes the folder if it is missing.
    pub fn new(folder: &Path) -> Result<Self> {
        let failed = |error| Error::from(storage::Error::write(folder)(error));
        if folder.is_file() {
            return Err(Error::Config(format!(
                "{} is a file; give --out a folder",
                folder.display()
            )));
        }
        let missing = folder.ancestors().take_while(|path| !path.exists());
        let missing: Vec<_> = missing.filter(|path| !path.as_os_str().is_empty()).collect();
        let made = missing.into_iter().map(Path::to_owned).collect();
        // From here on they are taken away again.
        let mut locked = Self { made, lock: None };
        loop {
            storage::create_directory(folder)?;
            let lock = match File::open(folder) {
                Ok(file) => file,
                // As on systems where a folder is nothing to open.
                Err(_) if cfg!(not(unix)) => return Ok(locked),
                Err(error) => return Err(failed(error)),
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Config(format!(
                        "another run is at work in {}; wait until it has ended, or give --out \
                         another folder",
                        folder.display()
                    )));
                }
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(locked);
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Another claim may have taken the folder away before this one locked it.
            if is_still(folder, &lock) {
                locked.lock = Some(lock);
                return Ok(locked);
            }
        }
    }
}

/// Whether an open folder still has its name.
#[cfg(unix)]
fn is_still(folder: &Path, lock: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let about = |about: fs::Metadata| (about.dev(), about.ino());
    match (fs::metadata(folder), lock.metadata()) {
        (Ok(named), Ok(open)) => about(named) == about(open),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_still(_: &Path, _: &File) -> bool {
    true
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        for folder in &self.made {
            // Refused for a folder that has something in it.
            let _ = fs::remove_dir(folder);
        }
        self.lock = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_at_a_time_works_in_a_folder() {
        let parent = tempfile::tempdir().unwrap();
        let (one, other) = (parent.path().join("a/one"), parent.path().join("a/other"));
        let first = DirectoryLock::new(&one).unwrap();
        let error = DirectoryLock::new(&one).unwrap_err().to_string();
        assert!(error.contains("another run is at work in") && error.contains("--out"), "{error}");
        let second = DirectoryLock::new(&other).unwrap();
        drop(first);
        drop(DirectoryLock::new(&one).unwrap());
        drop(second);
    }

    #[test]
    fn a_folder_that_was_made_for_nothing_is_taken_away() {
        let parent = tempfile::tempdir().unwrap();
        let made = parent.path().join("one/two/made");
        drop(DirectoryLock::new(&made).unwrap());
        assert!(!parent.path().join("one").exists());
        let lock = DirectoryLock::new(&made).unwrap();
        fs::write(made.join("result"), "").unwrap();
        drop(lock);
        assert!(made.join("result").exists());
        drop(DirectoryLock::new(parent.path()).unwrap());
        let there = parent.path().join("there");
        fs::create_dir(&there).unwrap();
        drop(DirectoryLock::new(&there).unwrap());
        assert!(there.exists(), "it was there before");
    }
}
