//! The split as files that a later run uses again.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use atomic_write_file::AtomicWriteFile;
use serde::{Deserialize, Serialize};

use crate::{
    csv::{from_csv, to_csv},
    error::{Error, Result},
    given::given,
    labelled::{Labelled, RowCounts, missing, read_labelled, read_part},
    source::{Data, Source, sha256},
    split::{ClassRows, Example, Split, SplitConfig},
    table::{Columns, Format},
};

/// Beside the CSV files: what they were made from.
pub const MANIFEST_FILE: &str = "split.json";

/// Changes with the way a split is made, so that older files are made anew.
const VERSION: u32 = 3;

/// A split that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The parts.
    pub split: Split,
    /// Whether they were read from the files of an earlier run.
    pub reused: bool,
    /// sha256 of the source, in hexadecimal; of several files, of their sums.
    pub source_sha256: String,
    /// What became of the rows of the source, all files together.
    pub counts: RowCounts,
    /// Rows of each class in each part.
    pub classes: Vec<ClassRows>,
}

/// What `split.json` says.
#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    source_sha256: String,
    columns: Columns,
    format: Option<Format>,
    settings: SplitConfig,
    counts: RowCounts,
    /// Each label with its class.
    labels: BTreeMap<String, usize>,
    train: Part,
    validation: Part,
    test: Part,
    /// sha256 of all that, written without it.
    #[serde(default)]
    sha256: String,
}

impl Manifest {
    /// The checksum of everything else.
    fn sum(&mut self) -> serde_json::Result<String> {
        let kept = std::mem::take(&mut self.sha256);
        let sum = serde_json::to_vec(self).map(|bytes| sha256(&bytes));
        self.sha256 = kept;
        sum
    }
}

#[derive(Serialize, Deserialize)]
struct Part {
    file: String,
    sha256: String,
    /// Row or line of each row in the source, from 0.
    rows: Vec<usize>,
}

/// Reads and splits labelled text ([`read_labelled`], [`Split::new`]), and keeps
/// the parts in the folder `dir`: `train.csv`, `validation.csv` and `test.csv` with
/// the columns `Label` (the class) and `Text`, and `split.json` with the settings,
/// the labels, the source row of each row, and checksums. `data` is a path, or a
/// [`Data`] that says more.
///
/// Parts that are files already ([`Source::Given`]) stay as they are, in the order
/// of their rows. If there is no validation file, `validation / (train +
/// validation)` of the training rows become it; with `balance` the training part
/// alone is cut down to as many rows of each class as the smallest has.
///
/// If the files are there, as they were written, and were made from the same
/// bytes with the same settings, the parts are read from them. Else they are
/// written anew, each at once.
///
/// # Errors
/// Whatever is wrong with `data` or `config`; [`Error::Row`] for a label of a
/// validation or test file that the training file has not; [`Error::Write`] if
/// `dir` cannot be written.
pub fn prepare(
    data: impl Into<Data>,
    config: &SplitConfig,
    dir: impl AsRef<Path>,
) -> Result<Prepared> {
    let preparation = Preparation::new(data, config, dir)?;
    preparation.write()?;
    Ok(preparation.prepared)
}

/// A split that is made and not yet kept: [`prepare`] in two steps, for a program
/// that has more to look at before it writes anything.
#[derive(Clone, Debug)]
pub struct Preparation {
    data: Data,
    config: SplitConfig,
    dir: PathBuf,
    prepared: Prepared,
}

impl Preparation {
    /// Makes the parts, or reads those in `dir`; writes nothing.
    ///
    /// # Errors
    /// As [`prepare`], but for [`Error::Write`].
    pub fn new(data: impl Into<Data>, config: &SplitConfig, dir: impl AsRef<Path>) -> Result<Self> {
        let (data, dir) = (data.into(), dir.as_ref());
        let source_sha256 =
            data.source.sha256().map_err(|error| missing(error, &data.columns, data.format))?;
        let found = reuse(dir, &source_sha256, &data, config);
        let reused = found.is_some();
        let (split, counts) = match found {
            Some(found) => found,
            None => split(&data, config)?,
        };
        let classes = split.class_rows();
        let prepared = Prepared { split, reused, source_sha256, counts, classes };
        Ok(Self { data, config: config.clone(), dir: dir.to_owned(), prepared })
    }

    /// The parts.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// Keeps the parts in the folder, if they are not there.
    ///
    /// # Errors
    /// [`Error::Write`] names the file or the folder.
    pub fn write(&self) -> Result<()> {
        let Prepared { split, reused, source_sha256, counts, .. } = &self.prepared;
        if *reused {
            return Ok(());
        }
        write(&self.dir, source_sha256, &self.data, &self.config, split, counts)
    }
}

/// Reads the source and makes the parts.
fn split(data: &Data, config: &SplitConfig) -> Result<(Split, RowCounts)> {
    let read_all = |path: &Path| read_labelled(path, data.format, &data.columns);
    let read_part = |path: &Path| read_part(path, data.format, &data.columns);
    match &data.source {
        Source::One(path) => {
            let Labelled { messages, counts } = read_all(path)?;
            // What the rows do not suffice for is the matter of their file.
            let split = Split::new(&messages, config).map_err(|error| match error {
                Error::Config(reason) => Error::Table { path: path.clone(), reason },
                other => other,
            })?;
            Ok((split, counts))
        }
        Source::Given { train, validation, test } => {
            let all = read_all(train)?;
            let held = validation.as_deref().map(read_part).transpose()?;
            let last = read_part(test)?;
            let mut counts = all.counts;
            held.iter().chain([&last]).for_each(|part| counts.add(&part.counts));
            let split = given(
                (train, &all.messages),
                validation.as_deref().zip(held.as_ref().map(|part| part.messages.as_slice())),
                (test, &last.messages),
                config,
            )?;
            Ok((split, counts))
        }
    }
}

/// The split in `dir`, if it is whole and the one that is wanted. Whatever is
/// wrong with it, the answer is to write it anew.
fn reuse(
    dir: &Path,
    source_sha256: &str,
    data: &Data,
    config: &SplitConfig,
) -> Option<(Split, RowCounts)> {
    let mut manifest: Manifest =
        serde_json::from_slice(&fs::read(dir.join(MANIFEST_FILE)).ok()?).ok()?;
    let same = manifest.version == VERSION
        && manifest.sum().is_ok_and(|sum| sum == manifest.sha256)
        && manifest.source_sha256 == source_sha256
        && manifest.columns == data.columns
        && manifest.format == data.format
        && manifest.settings == *config
        && manifest.labels.values().copied().eq(0..manifest.labels.len());
    if !same {
        return None;
    }
    let labels: Vec<String> = manifest.labels.into_keys().collect();
    let part = |name: &str, part: Part| read_part_file(&dir.join(file(name)), part, labels.len());
    let train = part("train", manifest.train)?;
    let validation = part("validation", manifest.validation)?;
    let test = part("test", manifest.test)?;
    Some((Split { labels, train, validation, test }, manifest.counts))
}

fn read_part_file(path: &Path, part: Part, classes: usize) -> Option<Vec<Example>> {
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
fn write(
    dir: &Path,
    source_sha256: &str,
    data: &Data,
    config: &SplitConfig,
    split: &Split,
    counts: &RowCounts,
) -> Result<()> {
    fs::create_dir_all(dir).map_err(|cause| Error::Write { path: dir.to_owned(), cause })?;
    let part = |name: &str, examples: &[Example]| -> Result<Part> {
        let path = dir.join(file(name));
        let csv = to_csv(examples)
            .map_err(|error| Error::Write { path: path.clone(), cause: io::Error::other(error) })?;
        write_file(path, &csv)?;
        let rows = examples.iter().map(|example| example.row).collect();
        Ok(Part { file: file(name), sha256: sha256(&csv), rows })
    };
    let mut manifest = Manifest {
        version: VERSION,
        source_sha256: source_sha256.to_owned(),
        columns: data.columns.clone(),
        format: data.format,
        settings: config.clone(),
        counts: counts.clone(),
        labels: split.labels.iter().cloned().zip(0..).collect(),
        train: part("train", &split.train)?,
        validation: part("validation", &split.validation)?,
        test: part("test", &split.test)?,
        sha256: String::new(),
    };
    let path = dir.join(MANIFEST_FILE);
    manifest.sha256 =
        manifest.sum().map_err(|error| Error::Write { path: path.clone(), cause: error.into() })?;
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
