//! Paths of the workspace, removal, and a lock.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Returns the given folder, or the workspace of this program.
pub fn find(given: Option<PathBuf>) -> PathBuf {
    let own = || {
        // Cargo sets the current path of the package, the compiler the path at build time.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        package.parent().map_or(package.clone(), Path::to_owned)
    };
    given.unwrap_or_else(own)
}

/// Returns cargo's target folder.
pub fn target_folder(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        // Other folders become the working directory later.
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
        None => root.join("target"),
    }
}

/// Displays a path, relative to the workspace if it is inside.
pub fn show<'a>(root: &Path, path: &'a Path) -> std::path::Display<'a> {
    path.strip_prefix(root).unwrap_or(path).display()
}

/// Removes a file, if it is there.
pub fn remove_file(path: &Path) -> Result<()> {
    removed(fs::remove_file(path), path)
}

/// Removes a folder with everything in it, if it is there.
pub fn remove_folder(path: &Path) -> Result<()> {
    removed(fs::remove_dir_all(path), path)
}

fn removed(result: io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Lock against a second task of the same kind, released on drop.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Creates and locks the file `path`. `task` names the other task in the error.
    pub fn take(path: &Path, task: &str) -> Result<Self> {
        let file = File::create(path)
            .with_context(|| format!("cannot write {}: is its folder writable?", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => bail!(
                "another {task} is at work here ({} is locked): let it end and try again",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }
}
