//! The folder of the workspace, and files in it.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The given folder, or the workspace that this program was built in.
pub fn find(given: Option<PathBuf>) -> PathBuf {
    let own = || {
        // Cargo says where the package is now, the compiler where it was.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        package.parent().map_or(package.clone(), Path::to_owned)
    };
    given.unwrap_or_else(own)
}

/// The folder that cargo builds in.
pub fn target_folder(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        // From here on it is looked for from other folders too.
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
        None => root.join("target"),
    }
}

/// Displays a path, relative to the workspace if it is inside.
pub fn show<'a>(root: &Path, path: &'a Path) -> std::path::Display<'a> {
    path.strip_prefix(root).unwrap_or(path).display()
}

/// Keeps a second task of the same kind out until it is dropped.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock that is the file `path`, which is made. `task` is what it
    /// keeps out.
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
