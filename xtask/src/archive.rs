//! Downloaded zip archives, such as wheels. An unusual archive is refused before anything is
//! written.

use std::{
    fs::File,
    io::{BufReader, Read, Write},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use zip::ZipArchive;

/// An archive whose entries lie below the folder that they are unpacked to.
pub struct Archive {
    zip: ZipArchive<BufReader<File>>,
    path: PathBuf,
    /// Its files.
    pub entries: Vec<Entry>,
}

/// A file in an archive.
#[derive(Clone, Debug)]
pub struct Entry {
    number: usize,
    /// Its path, which is relative and does not climb.
    pub path: PathBuf,
    /// Bytes, as the archive says.
    pub size: u64,
}

impl Archive {
    /// Opens an archive that unpacks to no more than `most` bytes.
    ///
    /// `enclosed_name` of the `zip` crate is not asked: it mends paths that it had
    /// better refuse, absolute ones among them.
    pub fn open(path: &Path, most: u64) -> Result<Self> {
        let damaged = || damaged(path);
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut zip = ZipArchive::new(BufReader::new(file)).with_context(damaged)?;
        if zip.has_duplicate_names() {
            bail!("{} has two files of one name: it is refused", path.display());
        }
        let mut entries = Vec::new();
        let mut total = 0u64;
        for number in 0..zip.len() {
            let entry = zip.by_index_raw(number).with_context(damaged)?;
            let name = entry.name().with_context(damaged)?.into_owned();
            if !stays_inside(&name) {
                bail!("{} has a file with the path {name:?}: it is refused", path.display());
            }
            if entry.is_symlink() {
                bail!("{} has a link, {name:?}: it is refused", path.display());
            }
            total = total.saturating_add(entry.size());
            if entry.is_file() {
                entries.push(Entry { number, path: PathBuf::from(name), size: entry.size() });
            }
        }
        if total > most {
            bail!("{} unpacks to {total} bytes, more than {most}: it is refused", path.display());
        }
        Ok(Self { zip, path: path.to_owned(), entries })
    }

    /// Writes a file of the archive to `to`; `each` is told of the bytes written. (The
    /// `zip` crate itself ends at a file that is larger than it says.)
    pub fn unpack(&mut self, entry: &Entry, to: &Path, mut each: impl FnMut(u64)) -> Result<()> {
        let damaged = || damaged(&self.path);
        let cannot_write = || format!("cannot write {}", to.display());
        let mut reader = self.zip.by_index(entry.number).with_context(damaged)?;
        let mut file = File::create(to).with_context(cannot_write)?;
        let mut buffer = vec![0; 1 << 18];
        let mut written = 0;
        loop {
            let count = reader.read(&mut buffer).with_context(damaged)?;
            if count == 0 {
                break;
            }
            written += count as u64;
            file.write_all(&buffer[..count]).with_context(cannot_write)?;
            each(count as u64);
        }
        if written < entry.size {
            return Err(anyhow!("{:?} is smaller than it says", entry.path)).with_context(damaged);
        }
        file.sync_all().with_context(cannot_write)
    }
}

/// Returns whether a path in an archive stays below the folder that it is unpacked to, on
/// every system.
fn stays_inside(name: &str) -> bool {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    !name.is_empty() && !name.contains(['\\', '\0']) && Path::new(name).components().all(is_plain)
}

fn damaged(path: &Path) -> String {
    format!("{} is not a complete archive: remove it and try again", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn file_that_is_not_an_archive_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.whl");
        fs::write(&path, "PK").unwrap();
        let error = Archive::open(&path, 1).err().unwrap().to_string();
        assert!(error.contains("a.whl is not a complete archive"), "{error}");
    }

    #[test]
    fn paths_outside_the_folder_are_detected() {
        let bad = ["", "/a", "../a", "a/../../b", "a/../b", "a\\b", "..\\a", "C:\\a", "a\0", "./a"];
        assert!(bad.iter().all(|name| !stays_inside(name)), "{bad:?}");
        let good = ["a", "a/b", "a/", "a..b/..c", "a/ b"];
        assert!(good.iter().all(|name| stays_inside(name)), "{good:?}");
    }
}
