//! The split as files that a later run uses again.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use atomic_write_file::AtomicWriteFile;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    csv::{from_csv, to_csv},
    error::{Error, Result},
    messages::{parse_messages, read_source},
    split::{Example, Split, SplitConfig},
};

/// Beside the CSV files: what they were made from.
pub const MANIFEST_FILE: &str = "split.json";

/// Changes with the way a split is made, so that older files are made anew.
const VERSION: u32 = 1;

/// A split that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The parts.
    pub split: Split,
    /// Whether they were read from the files of an earlier run.
    pub reused: bool,
    /// sha256 of the source, in hexadecimal.
    pub source_sha256: String,
}

/// What `split.json` says.
#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    source_sha256: String,
    settings: SplitConfig,
    /// Each label with its class.
    labels: BTreeMap<String, usize>,
    train: Part,
    validation: Part,
    test: Part,
}

#[derive(Serialize, Deserialize)]
struct Part {
    file: String,
    sha256: String,
    /// Line of each row in the source, from 0.
    rows: Vec<usize>,
}

/// Reads and splits the messages of `source` ([`read_messages`](crate::read_messages),
/// [`Split::new`]), and keeps the parts in the folder `dir`: `train.csv`,
/// `validation.csv` and `test.csv` with the columns `Label` (the class) and
/// `Text`, and `split.json` with the settings, the labels, the source line of
/// each row, and checksums.
///
/// If these files are there, as they were written, and were made from the same
/// bytes with the same settings, the parts are read from them. Else they are
/// written anew, each at once.
///
/// # Errors
/// Whatever is wrong with `source` or `config`; [`Error::Write`] if `dir` cannot
/// be written.
pub fn prepare(
    source: impl AsRef<Path>,
    config: &SplitConfig,
    dir: impl AsRef<Path>,
) -> Result<Prepared> {
    let (source, dir) = (source.as_ref(), dir.as_ref());
    let bytes = read_source(source)?;
    let source_sha256 = sha256(&bytes);
    if let Some(split) = reuse(dir, &source_sha256, config) {
        return Ok(Prepared { split, reused: true, source_sha256 });
    }
    let split = Split::new(&parse_messages(source, &bytes)?, config)?;
    write(dir, &source_sha256, config, &split)?;
    Ok(Prepared { split, reused: false, source_sha256 })
}

/// The split in `dir`, if it is whole and the one that is wanted. Whatever is
/// wrong with it, the answer is to write it anew.
fn reuse(dir: &Path, source_sha256: &str, config: &SplitConfig) -> Option<Split> {
    let manifest: Manifest =
        serde_json::from_slice(&fs::read(dir.join(MANIFEST_FILE)).ok()?).ok()?;
    let same = manifest.version == VERSION
        && manifest.source_sha256 == source_sha256
        && manifest.settings == *config
        && manifest.labels.values().copied().eq(0..manifest.labels.len());
    if !same {
        return None;
    }
    let labels: Vec<String> = manifest.labels.into_keys().collect();
    let part = |name: &str, part: Part| read_part(&dir.join(file(name)), part, labels.len());
    let train = part("train", manifest.train)?;
    let validation = part("validation", manifest.validation)?;
    let test = part("test", manifest.test)?;
    Some(Split { labels, train, validation, test })
}

fn read_part(path: &Path, part: Part, classes: usize) -> Option<Vec<Example>> {
    let bytes = fs::read(path).ok()?;
    if sha256(&bytes) != part.sha256 {
        return None;
    }
    let rows = from_csv(&bytes).ok()?;
    if rows.len() != part.rows.len() || rows.iter().any(|&(label, _)| label >= classes) {
        return None;
    }
    let example = |((label, text), row)| Example { label, text, row };
    Some(rows.into_iter().zip(part.rows).map(example).collect())
}

/// The manifest is written last: until then the checksums of an older one do not
/// fit, and neither does an interrupted write pass for a whole one.
fn write(dir: &Path, source_sha256: &str, config: &SplitConfig, split: &Split) -> Result<()> {
    fs::create_dir_all(dir).map_err(|cause| Error::Write { path: dir.to_owned(), cause })?;
    let part = |name: &str, examples: &[Example]| -> Result<Part> {
        let path = dir.join(file(name));
        let csv = to_csv(examples)
            .map_err(|error| Error::Write { path: path.clone(), cause: io::Error::other(error) })?;
        write_file(path, &csv)?;
        let rows = examples.iter().map(|example| example.row).collect();
        Ok(Part { file: file(name), sha256: sha256(&csv), rows })
    };
    let manifest = Manifest {
        version: VERSION,
        source_sha256: source_sha256.to_owned(),
        settings: config.clone(),
        labels: split.labels.iter().cloned().zip(0..).collect(),
        train: part("train", &split.train)?,
        validation: part("validation", &split.validation)?,
        test: part("test", &split.test)?,
    };
    let path = dir.join(MANIFEST_FILE);
    let mut json = serde_json::to_string_pretty(&manifest)
        .map_err(|error| Error::Write { path: path.clone(), cause: error.into() })?;
    json.push('\n');
    write_file(path, json.as_bytes())
}

fn file(part: &str) -> String {
    format!("{part}.csv")
}

/// Writes beside the file and renames, so that it is there whole or not at all.
fn write_file(path: PathBuf, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = AtomicWriteFile::open(&path)?;
        file.write_all(bytes)?;
        file.commit()
    };
    write().map_err(|cause| Error::Write { path, cause })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
