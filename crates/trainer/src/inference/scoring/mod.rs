//! Scoring of tables by any number of processes: a directory of parts.
//!
//! A table is divided into shards ([`dataset::ShardedFile`]), and each shard becomes a file of the
//! output directory, a part. A process that dies does not stop the others, and a process that
//! starts later skips the parts that are there: a part gets its name once it is complete, and its
//! bytes do not depend on the process. The manifest in the directory has everything that decides
//! these bytes, and must be the same for all processes.

mod array_task;
mod directory;
pub(crate) mod error;
mod manifest;
mod worker;
mod workers;

use std::path::{Path, PathBuf};

use dataset::{Format, ShardedFile, TableOptionError, TableOptions, TableReader};

pub use self::{
    array_task::ArrayTask,
    error::{ArrayTaskError, ScoringError},
    workers::{Workers, check_one_process},
};
use self::{directory::OutputDirectory, manifest::Manifest, worker::Worker};
use crate::{error::Result, inference::predictor::Predictor};

/// Manifest in the output directory.
const MANIFEST_FILE: &str = "_manifest.json";
/// Empty file that is there once all parts are.
const SUCCESS_FILE: &str = "_SUCCESS";

/// Scoring of files into a directory.
#[derive(Clone, Copy, Debug)]
pub struct Scoring<'a> {
    /// The classifier.
    pub predictor: &'a Predictor,
    /// Input files, in the same order in every process.
    pub files: &'a [PathBuf],
    /// Options for reading the files.
    pub table: &'a TableOptions,
    /// Output directory, which is created.
    pub directory: &'a Path,
    /// Format of the parts; by default the format of the first file.
    pub format: Option<Format>,
    /// Adds the probability of each label.
    pub probabilities: bool,
}

/// Result of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scored {
    /// Parts that this process wrote.
    pub parts: usize,
    /// Rows of these parts.
    pub rows: usize,
    /// Parts for this process that were there when it began.
    pub present: usize,
    /// Parts that are missing, which other tasks of an array job write.
    pub missing: usize,
    /// Notes on the input files, the columns and the processes, one sentence each.
    pub notes: Vec<String>,
}

impl Scoring<'_> {
    /// Scores parts until none is missing, or until the parts of a task of an array job are
    /// complete. `progress` is called with the number of rows that this process has classified.
    ///
    /// Memory does not grow with the table.
    ///
    /// # Errors
    /// [`ScoringError`] if the directory has other files, or parts of another adapter, input or
    /// options; [`Error::Distributed`](crate::Error::Distributed) if the processes differ; errors
    /// of reading, classifying and writing.
    pub fn run(&self, workers: &Workers, progress: &mut dyn FnMut(usize)) -> Result<Scored> {
        let (files, left_out) = self.input_files();
        let open = |path| ShardedFile::open(path, self.table);
        let files: Vec<ShardedFile> =
            files.into_iter().map(open).collect::<dataset::Result<_>>()?;
        let shards: Vec<_> = files.iter().flat_map(ShardedFile::shards).collect();
        let first = shards.first().ok_or(dataset::Error::from(TableOptionError::NoFile))?;
        // Missing columns are reported before the directory is created.
        let mut first = TableReader::open_shard(first, self.table, false)?;
        let (format, columns) = (self.format.unwrap_or(first.format()), first.no_rows()?);
        drop(first);
        let manifest = Manifest::new(self, &files, format)?;
        let mut notes = Vec::from_iter(workers.agree(&manifest)?);
        if left_out > 0 {
            notes.push(format!("{left_out} files of the output directory are not read as input"));
        }
        let output = OutputDirectory::open(self.directory, &manifest, shards.len(), format)?;
        let mut worker = Worker::new(self, &shards, &output, columns, progress);
        notes.into_iter().for_each(|note| worker.note(note));
        worker.run(workers)
    }

    /// Input files, without the parts of an earlier run that match the same pattern, and the number
    /// of these parts.
    fn input_files(&self) -> (Vec<&PathBuf>, usize) {
        let directory = self.directory.canonicalize().ok();
        let is_part = |path: &&PathBuf| {
            let path = path.canonicalize().ok();
            let parent = path.as_deref().and_then(Path::parent);
            parent.is_some() && parent == directory.as_deref()
        };
        let (parts, files): (Vec<_>, Vec<_>) = self.files.iter().partition(is_part);
        (files, parts.len())
    }
}
