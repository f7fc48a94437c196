//! Division of tables into shards.

use std::{
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    TableOptions,
    format::Format,
    reader::{Input, row_counts, source::Source},
};
use crate::error::{Error, Result};

/// Rows of a shard of several row groups, at most.
const ROWS: usize = 32 << 10;

/// Bytes at the beginning and at the end of a file that its checksum covers.
const HASHED: u64 = 1 << 20;

/// Share of a table that is read on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The file.
    pub path: PathBuf,
    /// Row groups of a Parquet file; `None` for a whole file.
    pub row_groups: Option<Range<usize>>,
    /// Size and time of the last modification when the file was divided.
    version: Version,
}

/// Size of a file, and the time of its last modification where the system has it.
type Version = (u64, Option<SystemTime>);

/// File of a table, divided into shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardedFile {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its first and its last MiB in hexadecimal; of all bytes up to 2 MiB.
    pub sha256: String,
    /// Row groups of each shard; `None` for a file that is one shard.
    pub row_groups: Option<Vec<Range<usize>>>,
    modified: Option<SystemTime>,
}

impl ShardedFile {
    /// Divides a file. Shards of a Parquet file are row groups, of which small ones are taken
    /// together up to 32,768 rows. A file of another format or a compressed one is one shard.
    ///
    /// ```
    /// use dataset::{ShardedFile, TableOptions, TableReader};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("mails.csv");
    /// std::fs::write(&path, "text\nsee you\nwin now\n")?;
    /// let file = ShardedFile::open(&path, &TableOptions::default())?;
    /// assert_eq!((file.size, file.shards().count()), (21, 1));
    /// for shard in file.shards() {
    ///     let mut reader = TableReader::open_shard(&shard, &TableOptions::default(), false)?;
    ///     assert_eq!(reader.next_chunk(10)?.unwrap().texts(), ["see you", "win now"]);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] if the file cannot be read; [`Error::Table`] for a pipe, which can be
    /// read only once, and for damaged Parquet.
    pub fn open(path: impl Into<PathBuf>, options: &TableOptions) -> Result<Self> {
        let path = path.into();
        let source = Source::new(&path);
        let (_, Some(mut file)) = source.open()? else {
            let reason = "a pipe cannot be divided into shards, expected a file".to_owned();
            return Err(Error::Table { path: source.name().to_owned(), reason });
        };
        let (size, sha256) = fingerprint(&mut file).map_err(storage::Error::read(&path))?;
        let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
        let input = Input::open(&source, options)?;
        let may_be_parquet = options.format.is_none_or(|format| format == Format::Parquet);
        let row_groups = if may_be_parquet && input.is_parquet() && input.layers.is_empty() {
            Some(grouped(&row_counts(input)?))
        } else {
            None
        };
        Ok(Self { path, size, sha256, row_groups, modified })
    }

    /// Returns the shards in their order.
    pub fn shards(&self) -> impl Iterator<Item = Shard> {
        let shards = match &self.row_groups {
            Some(groups) => groups.iter().cloned().map(Some).collect(),
            None => vec![None],
        };
        let version = (self.size, self.modified);
        shards.into_iter().map(move |row_groups| Shard {
            path: self.path.clone(),
            row_groups,
            version,
        })
    }
}

impl Shard {
    /// Checks that the file has the size and the time of modification that it had when it was
    /// divided.
    ///
    /// # Errors
    /// [`Error::Table`] if it was changed; [`Error::Storage`] if it cannot be read.
    pub fn check_unchanged(&self) -> Result<()> {
        let metadata = std::fs::metadata(&self.path).map_err(storage::Error::read(&self.path))?;
        if (metadata.len(), metadata.modified().ok()) == self.version {
            return Ok(());
        }
        Err(Self::changed(&self.path, "its size or time of modification differs"))
    }

    /// Returns the error of a file that is not what it was when it was divided.
    pub(super) fn changed(path: &Path, problem: &str) -> Error {
        let reason = format!("{problem}; the file was changed after it was divided into shards");
        Error::Table { path: path.to_owned(), reason }
    }
}

/// Returns the size of a file and the checksum of its beginning and end.
fn fingerprint(file: &mut std::fs::File) -> std::io::Result<(u64, String)> {
    let size = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(HASHED).read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(size.saturating_sub(HASHED).max(HASHED.min(size))))?;
    file.take(HASHED).read_to_end(&mut bytes)?;
    Ok((size, storage::sha256(&bytes)))
}

/// Takes consecutive row groups together. There is at least one shard.
fn grouped(row_counts: &[usize]) -> Vec<Range<usize>> {
    let (mut shards, mut first, mut rows) = (Vec::new(), 0, 0usize);
    for (group, &count) in row_counts.iter().enumerate() {
        if rows > 0 && rows.saturating_add(count) > ROWS {
            shards.push(first..group);
            (first, rows) = (group, 0);
        }
        rows = rows.saturating_add(count);
    }
    shards.push(first..row_counts.len());
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_row_groups_share_a_shard_and_none_is_divided() {
        for (counts, expected) in [
            (&[][..], &[(0, 0)][..]),
            (&[7], &[(0, 1)]),
            (&[ROWS, 1], &[(0, 1), (1, 2)]),
            (&[ROWS - 1, 1, 1], &[(0, 2), (2, 3)]),
            (&[10 * ROWS, 5, 5], &[(0, 1), (1, 3)]),
            (&[5, 10 * ROWS, 0, 5], &[(0, 1), (1, 2), (2, 4)]),
            (&[0, 0, ROWS], &[(0, 3)]),
            (&[usize::MAX, usize::MAX], &[(0, 1), (1, 2)]),
        ] {
            let expected: Vec<_> = expected.iter().map(|&(first, end)| first..end).collect();
            assert_eq!(grouped(counts), expected, "{counts:?}");
        }
    }

    #[test]
    fn fingerprint_covers_size_beginning_and_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            fingerprint(&mut std::fs::File::open(&path).unwrap()).unwrap()
        };
        assert_eq!(of(b"abc"), (3, storage::sha256(b"abc")));
        let mut bytes = vec![1; 2 * HASHED as usize];
        assert_eq!(of(&bytes).1, storage::sha256(&bytes));
        bytes.push(1);
        let whole = of(&bytes);
        for (place, is_covered) in [(0, true), (HASHED as usize, false), (bytes.len() - 1, true)] {
            let mut other = bytes.clone();
            other[place] = 2;
            assert_eq!(of(&other) != whole, is_covered, "{place}");
        }
    }
}
