//! The folder of a run, while a program is at work in it.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    files::make_folder,
};

/// A folder that no other run may work in meanwhile. The end of the process, however it
/// comes, ends the claim. A folder that was made for it and got no file is taken away.
#[derive(Debug)]
pub(crate) struct Claim {
    folder: PathBuf,
    is_made: bool,
    /// Holds the lock as long as it is open. A lock on the folder itself needs no file
    /// that would be left over; where folders cannot be locked there is none.
    _lock: Option<File>,
}

impl Claim {
    /// Makes the folder if it is missing.
    pub fn new(folder: &Path) -> Result<Self> {
        let failed = |source| Error::Write { path: folder.to_owned(), source };
        let is_made = !folder.exists();
        make_folder(folder)?;
        let lock = match File::open(folder) {
            Ok(file) => Some(file),
            // As on systems where a folder is nothing to open.
            Err(_) if cfg!(not(unix)) => None,
            Err(error) => return Err(failed(error)),
        };
        if let Some(Err(TryLockError::WouldBlock)) = lock.as_ref().map(File::try_lock) {
            return Err(Error::Config(format!(
                "another run is at work in {}; wait until it has ended, or give --out another \
                 folder",
                folder.display()
            )));
        }
        Ok(Self { folder: folder.to_owned(), is_made, _lock: lock })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_made {
            // Refused for a folder that has something in it.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_at_a_time_works_in_a_folder() {
        let parent = tempfile::tempdir().unwrap();
        let (one, other) = (parent.path().join("a/one"), parent.path().join("a/other"));
        let first = Claim::new(&one).unwrap();
        let error = Claim::new(&one).unwrap_err().to_string();
        assert!(error.contains("another run is at work in") && error.contains("--out"), "{error}");
        let second = Claim::new(&other).unwrap();
        drop(first);
        drop(Claim::new(&one).unwrap());
        drop(second);
    }

    #[test]
    fn a_folder_that_was_made_for_nothing_is_taken_away() {
        let parent = tempfile::tempdir().unwrap();
        let made = parent.path().join("made");
        drop(Claim::new(&made).unwrap());
        assert!(!made.exists());
        let claim = Claim::new(&made).unwrap();
        fs::write(made.join("result"), "").unwrap();
        drop(claim);
        assert!(made.join("result").exists());
        drop(Claim::new(parent.path()).unwrap());
        let there = parent.path().join("there");
        fs::create_dir(&there).unwrap();
        drop(Claim::new(&there).unwrap());
        assert!(there.exists(), "it was there before");
    }
}
