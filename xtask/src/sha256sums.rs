//! Checksums of fetched files in the format of `sha256sum`, which show later changes to the
//! next fetch and to `sha256sum --check SHA256SUMS`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use storage::{sha256_file, write_atomic};

/// The file in a folder that says it of the others.
pub const NAME: &str = "SHA256SUMS";

/// Writes down some files of a folder, by their paths in it.
pub fn remember<P: AsRef<Path>>(folder: &Path, files: &[P]) -> Result<()> {
    let mut sums = read(folder)?;
    for file in files {
        let sum = sha256_file(&folder.join(file))?;
        sums.insert(file.as_ref().to_string_lossy().into_owned(), sum);
    }
    let lines: String = sums.iter().map(|(file, sum)| format!("{sum}  {file}\n")).collect();
    Ok(write_atomic(&folder.join(NAME), lines.as_bytes())?)
}

/// The same for every file of a folder.
pub fn remember_all(folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    walk(folder, Path::new(""), &mut files)
        .with_context(|| format!("cannot read {}", folder.display()))?;
    remember(folder, &files)
}

/// Refuses a folder with a file whose checksum differs from the recorded one. Files without a
/// record were not fetched and are ignored.
pub fn check(folder: &Path) -> Result<()> {
    for (file, sum) in read(folder)? {
        let path = folder.join(&file);
        if !path.is_file() {
            bail!("{} is missing", path.display());
        }
        if sha256_file(&path)? != sum {
            bail!("{} has changed since it was fetched", path.display());
        }
    }
    Ok(())
}

/// The same for one file.
pub fn check_file(folder: &Path, file: &str) -> Result<()> {
    match read(folder)?.get(file) {
        Some(sum) if sha256_file(&folder.join(file))? != *sum => {
            bail!("it has changed since it was fetched")
        }
        _ => Ok(()),
    }
}

fn read(folder: &Path) -> Result<BTreeMap<String, String>> {
    let path = folder.join(NAME);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let lines = text.lines().filter_map(|line| line.split_once("  "));
    Ok(lines.map(|(sum, file)| (file.to_owned(), sum.to_owned())).collect())
}

fn walk(folder: &Path, below: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            walk(folder, &path, files)?;
        } else if path != Path::new(NAME) {
            files.push(path);
        }
    }
    Ok(())
}
