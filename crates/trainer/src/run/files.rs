//! Files that are there whole or not at all, and files that grow line by line.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, LineWriter, Write},
    path::{Path, PathBuf},
};

use atomic_write_file::AtomicWriteFile;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Writes beside the file and renames.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicWriteFile::open(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// As [`write`], for a file of a run.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes).map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// Makes a folder that is missing, with those above it, each on the disk before the next:
/// what is kept in one is not lost with its name.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    let make = |folder: &Path| -> io::Result<()> {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
            made => made,
        }?;
        let parent = match folder.parent().filter(|_| cfg!(unix)) {
            None => return Ok(()),
            Some(parent) if parent.as_os_str().is_empty() => File::open("."),
            Some(parent) => File::open(parent),
        };
        match parent {
            // A folder that may be written into and not read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            parent => parent?.sync_all(),
        }
    };
    let above: Vec<&Path> = folder.ancestors().collect();
    for folder in above.into_iter().rev() {
        if folder.as_os_str().is_empty() || folder.is_dir() {
            continue;
        }
        make(folder).map_err(|source| Error::Write { path: folder.to_owned(), source })?;
    }
    Ok(())
}

/// A value as JSON for people: indented, with a newline at the end.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::Write { path: path.to_owned(), source: error.into() })?;
    write_atomically(path, (text + "\n").as_bytes())
}

/// A value as a line of JSON; `path` is the file that it is for.
fn json_line<T: Serialize>(path: &Path, value: &T) -> Result<String> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::Write { path: path.to_owned(), source: error.into() })?;
    Ok(text + "\n")
}

/// Values as JSON, one a line.
pub(crate) fn write_jsonl<T: Serialize>(
    path: &Path,
    values: impl IntoIterator<Item = T>,
) -> Result<()> {
    let lines: String =
        values.into_iter().map(|value| json_line(path, &value)).collect::<Result<_>>()?;
    write_atomically(path, lines.as_bytes())
}

/// How much was written to a file, and what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub bytes: u64,
    sha256: String,
}

impl Written {
    /// The part of a file that was written by then; nothing if the file is shorter or
    /// another.
    pub fn of<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        let part = file.get(..usize::try_from(self.bytes).ok()?)?;
        (hex(Sha256::new_with_prefix(part)) == self.sha256).then_some(part)
    }
}

/// A checksum in hexadecimal.
pub(crate) fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file of JSON, one value a line, that is written as things happen.
#[derive(Debug)]
pub(crate) struct JsonLines {
    path: PathBuf,
    file: LineWriter<File>,
    bytes: u64,
    /// Of all that is in it.
    digest: Sha256,
}

impl JsonLines {
    /// Begins a file.
    pub fn create(path: &Path) -> Result<Self> {
        Self::open(path, OpenOptions::new().write(true).create(true).truncate(true), &[])
    }

    /// Goes on with a file that is there and `holds` this.
    pub fn append(path: &Path, holds: &[u8]) -> Result<Self> {
        Self::open(path, OpenOptions::new().append(true), holds)
    }

    fn open(path: &Path, options: &OpenOptions, holds: &[u8]) -> Result<Self> {
        let file =
            options.open(path).map_err(|source| Error::Write { path: path.to_owned(), source })?;
        let digest = Sha256::new_with_prefix(holds);
        let (path, bytes) = (path.to_owned(), holds.len() as u64);
        Ok(Self { path, file: LineWriter::new(file), bytes, digest })
    }

    /// Writes a line.
    pub fn write<T: Serialize>(&mut self, value: &T) -> Result<()> {
        let line = json_line(&self.path, value)?;
        self.file
            .write_all(line.as_bytes())
            .map_err(|source| Error::Write { path: self.path.clone(), source })?;
        self.bytes += line.len() as u64;
        self.digest.update(&line);
        Ok(())
    }

    /// Waits until all lines are on the disk: a power cut takes none of them.
    pub fn sync(&self) -> Result<()> {
        let synced = self.file.get_ref().sync_data();
        synced.map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// What the file holds now, on the disk too: after a power cut, whoever remembers
    /// this finds it.
    pub fn written(&self) -> Result<Written> {
        self.sync()?;
        Ok(Written { bytes: self.bytes, sha256: hex(self.digest.clone()) })
    }
}
