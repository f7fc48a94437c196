//! Names that a loss of power does not take, once they are given.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
};

use anyhow::{Context, Result};

use crate::net::part_of;

/// Makes a folder and those above it.
pub fn make_folder(path: &Path) -> Result<()> {
    let make = || -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.is_dir()).collect();
        for folder in missing.into_iter().rev().filter(|path| !path.as_os_str().is_empty()) {
            match fs::create_dir(folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
                made => made?,
            }
            sync_parent(folder)?;
        }
        Ok(())
    };
    make().with_context(|| format!("cannot make the folder {}: is it writable?", path.display()))
}

/// Writes a file, which is whole under its own name.
pub fn write_whole(file: &Path, text: &str) -> Result<()> {
    let part = part_of(file);
    // On the disk before it has its name: else a loss of power leaves an empty file.
    File::create(&part)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| move_to(&part, file))
        .with_context(|| format!("cannot write {}: is its folder writable?", file.display()))
}

/// Gives a file, whose bytes are on the disk, or a folder of such files another name.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    move_to(from, to)
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        sync_names(from)?;
    }
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Waits until the names in a folder, and in those in it, are on the disk.
fn sync_names(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_names(&entry.path())?;
        }
    }
    sync_folder(folder)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// As far as the system can: elsewhere than on Unix a folder is nothing to open.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder) {
        // One that may be written into and not read.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        folder => folder?.sync_all(),
    }
}
