//! Paths of files in the repository and beside it.

use std::path::{Path, PathBuf};

/// Root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A path below `tests/fixtures`.
pub fn fixture(path: &str) -> PathBuf {
    workspace().join("tests/fixtures").join(path)
}

/// Folder of the pocket model, the small base model of this project.
pub fn pocket() -> PathBuf {
    workspace().join("weights/pocket")
}

/// A path below the folder `shared` beside the checkout, if it exists.
pub fn shared(path: &str) -> Option<PathBuf> {
    workspace().join("../shared").join(path).canonicalize().ok()
}
