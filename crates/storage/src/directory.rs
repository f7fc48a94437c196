//! Directories whose names survive a power cut.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use crate::error::{Error, Result};

/// Creates a directory and its missing parents. Each name is on the disk before the
/// next one is created, so that a file written durably inside is reachable later.
///
/// # Errors
/// [`Error::Write`] names the directory that could not be created.
pub fn create_directory(path: &Path) -> Result<()> {
    let ancestors: Vec<&Path> = path.ancestors().collect();
    for directory in ancestors.into_iter().rev() {
        if !directory.as_os_str().is_empty() && !directory.is_dir() {
            create_one(directory).map_err(Error::write(directory))?;
        }
    }
    Ok(())
}

fn create_one(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        // Another process may have been faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
        created => created?,
    }
    match directory.parent() {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

/// Renames a file whose bytes are on the disk, or a directory of such files, durably.
///
/// # Errors
/// [`Error::Write`] with the new name.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let rename = || {
        if from.is_dir() {
            sync_tree(from)?;
        }
        fs::rename(from, to)?;
        to.parent().map_or(Ok(()), sync_directory)
    };
    rename().map_err(Error::write(to))
}

/// Flushes the names in a directory and in the directories below it.
fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    sync_directory(directory)
}

/// Flushes the names in a directory, where the operating system allows it: outside Unix
/// a directory cannot be opened as a file.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let is_here = directory.as_os_str().is_empty();
    match File::open(if is_here { Path::new(".") } else { directory }) {
        // A directory may be writable and not readable.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_parents_are_created() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/c");
        create_directory(&path).unwrap();
        create_directory(&path).unwrap();
        assert!(path.is_dir());
    }

    #[test]
    fn directory_is_renamed_with_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let [from, to] = ["a", "b"].map(|name| directory.path().join(name));
        create_directory(&from.join("c")).unwrap();
        rename(&from, &to).unwrap();
        assert!(to.join("c").is_dir() && !from.exists());
        let error = rename(&from, &to).unwrap_err();
        assert_eq!(error.path(), to);
    }

    #[test]
    fn file_in_the_way_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        fs::write(&file, "").unwrap();
        let error = create_directory(&file.join("b")).unwrap_err();
        assert_eq!(error.path(), file);
    }
}
