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

/// A path in the folder that `BOOK_REFERENCE` names: the book's program and its results.
///
/// # Panics
/// If the variable is not set or the path does not exist.
pub fn book_reference(path: &str) -> PathBuf {
    let folder = std::env::var_os("BOOK_REFERENCE");
    let folder = folder.expect("BOOK_REFERENCE names the folder with reference/ and data/");
    // Cargo runs tests in the directory of their package.
    let path = workspace().join(folder).join(path);
    path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
