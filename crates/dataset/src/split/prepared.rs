//! A split kept in a directory for later runs.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use storage::sha256;

use super::{
    config::SplitConfig,
    csv::{from_csv, to_csv},
    sets::Split,
};
use crate::{
    error::Result,
    labeled::{Example, LabeledFiles, LabeledSources, RowCounts, SourceFiles},
    table::TableOptions,
};

/// Name of the file that says what the CSV files beside it were made from.
pub const MANIFEST_FILE: &str = "split.json";

/// Version of the procedure: files of another version are not reused.
const VERSION: u32 = 4;

/// Split of labeled files, kept in a directory that later runs reuse.
///
/// The directory has `train.csv`, `validation.csv` and `test.csv` with the columns `Label`
/// (the class) and `Text`, and `split.json` with the settings, the labels, the source row
/// of each example, and checksums. If its files are as they were written, and were made
/// from the same bytes with the same settings, the sets are read from them.
///
/// ```
/// use dataset::{LabeledFiles, PreparedSplit, SplitConfig};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("data.csv");
/// let row = |row| format!("text {row},{}\n", if row % 2 == 0 { "ham" } else { "spam" });
/// std::fs::write(&path, format!("text,label\n{}", (0..20).map(row).collect::<String>()))?;
///
/// let (files, config) = (LabeledFiles::new(&path), SplitConfig::default());
/// let prepared = PreparedSplit::new(&files, &config, directory.path())?;
/// prepared.write()?;
/// assert_eq!(prepared.split.train.len(), 14);
/// assert!(PreparedSplit::new(&files, &config, directory.path())?.reused);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedSplit {
    /// Training, validation and test set.
    pub split: Split,
    /// True if the sets were read from the files of an earlier run.
    pub reused: bool,
    /// SHA-256 of the source in hexadecimal; see [`LabeledFiles::sha256`].
    pub source_sha256: String,
    /// Counts of used and skipped rows of all source files.
    pub counts: RowCounts,
    /// Notes on the source files, if they were read: what was detected, and what may surprise.
    pub notes: Vec<String>,
    /// Source files of each set.
    pub sources: SourceFiles,
    files: LabeledFiles,
    config: SplitConfig,
    directory: PathBuf,
}

/// Content of `split.json`.
#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    source_sha256: String,
    options: TableOptions,
    settings: SplitConfig,
    counts: RowCounts,
    sources: SourceFiles,
    /// Each label with its class.
    labels: BTreeMap<String, usize>,
    train: SetFile,
    validation: SetFile,
    test: SetFile,
    /// SHA-256 of all other entries.
    #[serde(default)]
    sha256: String,
}

impl Manifest {
    /// Returns the checksum of all other entries.
    fn checksum(&mut self) -> serde_json::Result<String> {
        let kept = std::mem::take(&mut self.sha256);
        let checksum = serde_json::to_vec(self).map(|bytes| sha256(&bytes));
        self.sha256 = kept;
        checksum
    }
}

#[derive(Serialize, Deserialize)]
struct SetFile {
    file: String,
    sha256: String,
    /// Row or line of each example in the source, from 0.
    rows: Vec<usize>,
}

impl PreparedSplit {
    /// Reads the split kept in `directory`, or reads and splits the files anew. Writes
    /// nothing.
    ///
    /// # Errors
    /// As [`LabeledFiles::read`] and [`LabeledText::split`](crate::LabeledText::split).
    pub fn new(
        files: &LabeledFiles,
        config: &SplitConfig,
        directory: impl AsRef<Path>,
    ) -> Result<Self> {
        let directory = directory.as_ref();
        let given = files.sources()?;
        let source_sha256 = given.sha256()?;
        let kept = read_kept(directory, &source_sha256, &given, files, config);
        let reused = kept.is_some();
        let (split, counts, notes, sources) = match kept {
            Some(kept) => kept,
            None => {
                let text = given.read(&files.options)?;
                let (counts, notes) = (text.counts().clone(), text.notes().to_vec());
                (text.split(config)?, counts, notes, text.files().clone())
            }
        };
        let (files, config, directory) = (files.clone(), config.clone(), directory.to_owned());
        Ok(Self { split, reused, source_sha256, counts, notes, sources, files, config, directory })
    }

    /// Keeps the sets in the directory, if they are not there yet.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) names the file or the directory.
    pub fn write(&self) -> Result<()> {
        if self.reused {
            return Ok(());
        }
        storage::create_directory(&self.directory)?;
        let mut manifest = Manifest {
            version: VERSION,
            source_sha256: self.source_sha256.clone(),
            options: self.files.options.clone(),
            settings: self.config.clone(),
            counts: self.counts.clone(),
            sources: self.sources.clone(),
            labels: self.split.labels.iter().cloned().zip(0..).collect(),
            train: self.write_set("train", &self.split.train)?,
            validation: self.write_set("validation", &self.split.validation)?,
            test: self.write_set("test", &self.split.test)?,
            sha256: String::new(),
        };
        // The manifest is written last: until then the checksums of an older one do not
        // match, so that an interrupted write is never reused.
        let path = self.directory.join(MANIFEST_FILE);
        manifest.sha256 =
            manifest.checksum().map_err(io::Error::from).map_err(storage::Error::write(&path))?;
        Ok(storage::write_json(&path, &manifest)?)
    }

    fn write_set(&self, name: &str, examples: &[Example]) -> Result<SetFile> {
        let file = csv_name(name);
        let path = self.directory.join(&file);
        let csv =
            to_csv(examples).map_err(io::Error::other).map_err(storage::Error::write(&path))?;
        storage::write_atomic(&path, &csv)?;
        let rows = examples.iter().map(|example| example.row).collect();
        Ok(SetFile { file, sha256: sha256(&csv), rows })
    }
}

/// Contents of a kept split.
type Kept = (Split, RowCounts, Vec<String>, SourceFiles);

/// Returns the split kept in `directory` if it is complete and made from the same source
/// with the same settings. Otherwise, whatever the problem, it has to be written anew.
fn read_kept(
    directory: &Path,
    source_sha256: &str,
    given: &LabeledSources,
    files: &LabeledFiles,
    config: &SplitConfig,
) -> Option<Kept> {
    let mut manifest: Manifest =
        serde_json::from_slice(&fs::read(directory.join(MANIFEST_FILE)).ok()?).ok()?;
    let same = manifest.version == VERSION
        && manifest.checksum().is_ok_and(|checksum| checksum == manifest.sha256)
        && manifest.source_sha256 == source_sha256
        && manifest.options == files.options
        && manifest.settings == *config;
    let labels = by_class(manifest.labels).filter(|_| same)?;
    let read =
        |name: &str, set: SetFile| read_set(&directory.join(csv_name(name)), set, labels.len());
    let train = read("train", manifest.train)?;
    let validation = read("validation", manifest.validation)?;
    let test = read("test", manifest.test)?;
    let split = Split { labels, train, validation, test };
    Some((split, manifest.counts, Vec::new(), manifest.sources.with_paths(given.names())?))
}

/// Returns the labels in the order of their classes.
fn by_class(labels: BTreeMap<String, usize>) -> Option<Vec<String>> {
    let mut classes: Vec<(String, usize)> = labels.into_iter().collect();
    classes.sort_by_key(|&(_, class)| class);
    let is_complete = classes.iter().map(|&(_, class)| class).eq(0..classes.len());
    is_complete.then(|| classes.into_iter().map(|(label, _)| label).collect())
}

/// Returns the labels of the class numbers in `file`, if it is a set that
/// [`PreparedSplit::write`] has written and nobody has changed since.
pub fn labels_of_set(file: &Path) -> Option<Vec<String>> {
    let manifest = fs::read(file.with_file_name(MANIFEST_FILE)).ok()?;
    let Manifest { labels, train, validation, test, .. } =
        serde_json::from_slice(&manifest).ok()?;
    let name = file.file_name()?;
    let set = [train, validation, test].into_iter().find(|set| name == set.file.as_str())?;
    let is_unchanged = storage::sha256_file(file).is_ok_and(|sha256| sha256 == set.sha256);
    by_class(labels).filter(|_| is_unchanged)
}

fn read_set(path: &Path, set: SetFile, classes: usize) -> Option<Vec<Example>> {
    let bytes = fs::read(path).ok()?;
    if sha256(&bytes) != set.sha256 {
        return None;
    }
    let rows = from_csv(&bytes).ok()?;
    if rows.len() != set.rows.len() || rows.iter().any(|&(label, _)| label >= classes) {
        return None;
    }
    let example = |((label, text), row)| Example { label, text, row };
    Some(rows.into_iter().zip(set.rows).map(example).collect())
}

fn csv_name(set: &str) -> String {
    format!("{set}.csv")
}
