//! A folder for the files that a reader needs. It is of memory where `TMPDIR` is.

use std::{fs, path::Path};

use tempfile::TempDir;

/// Files of one call, gone with it.
pub struct TemporaryFolder(TempDir);

impl TemporaryFolder {
    /// A folder with these files; names may have folders in them.
    pub fn with(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
