//! Files of labeled text.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use storage::{sha256, sha256_file};

use super::{example::Example, table_rows, text::LabeledText};
use crate::{
    error::{Error, Result},
    table::{Columns, Format},
};

/// Files of labeled text and how to read them.
///
/// The defaults: the extension decides the format, and the columns are called `text` and
/// `label`. Without separate files for the validation and test set, one file is split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabeledFiles {
    /// File of all examples; file of the training set if `test` is given.
    pub path: PathBuf,
    /// File of the validation set; `None`: split off the training set.
    pub validation: Option<PathBuf>,
    /// File of the test set.
    pub test: Option<PathBuf>,
    /// Columns to use of each file.
    pub columns: Columns,
    /// Format of each file; `None`: according to its extension.
    pub format: Option<Format>,
}

impl LabeledText {
    /// Opens a file of labeled text: TSV, CSV, JSON Lines or Parquet.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be opened.
    pub fn open(path: impl Into<PathBuf>) -> Result<LabeledFiles> {
        let files = LabeledFiles::new(path);
        File::open(&files.path).map_err(storage::Error::read(&files.path))?;
        Ok(files)
    }
}

impl LabeledFiles {
    /// Describes one file, which is not opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// Sets the name of the text column.
    pub fn text(mut self, column: impl Into<String>) -> Self {
        self.columns.text = Some(column.into());
        self
    }

    /// Sets the name of the label column.
    pub fn label(mut self, column: impl Into<String>) -> Self {
        self.columns.label = Some(column.into());
        self
    }

    /// Reads the files. Rows without a text or a label are skipped and counted.
    ///
    /// A TSV file without a header has a label, a tab and a text per line, and no row to
    /// skip: a line without a label is an error, and an empty text is kept.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Line`], [`Error::Row`] or [`Error::Columns`] for a file
    /// that cannot be read; [`Error::Row`] for a label that the training set lacks;
    /// [`Error::Table`], [`Error::NoExamples`] or [`Error::UniqueLabels`] for a table from
    /// which nothing can be learned; [`Error::Config`] for a validation file without a test
    /// file.
    pub fn read(&self) -> Result<LabeledText> {
        let read = |path: &Path| table_rows::read(path, self.format, &self.columns);
        let (rows, counts) = read(&self.path)?;
        let mut text = LabeledText::from_rows(&rows, counts, Some(&self.path))?;
        let Some(test) = self.test_file()? else { return Ok(text) };
        let mut add = |path: &Path| -> Result<Vec<Example>> {
            let (rows, counts) = read(path)?;
            text.add(path, &rows, &counts)
        };
        let validation = self.validation.as_deref().map(&mut add).transpose()?;
        let test = add(test)?;
        Ok(text.with_sets(validation, test))
    }

    /// Returns the SHA-256 of the file in hexadecimal; for several files, the SHA-256 of a
    /// list of their sets and checksums.
    ///
    /// # Errors
    /// [`Error::Storage`] for a file that cannot be read; [`Error::Config`] for a validation
    /// file without a test file.
    pub fn sha256(&self) -> Result<String> {
        let Some(test) = self.test_file()? else { return Ok(sha256_file(&self.path)?) };
        let mut list = String::new();
        let validation = self.validation.as_deref().map(|path| ("validation", path));
        for (set, path) in [("train", &*self.path), ("test", test)].into_iter().chain(validation) {
            list.push_str(&format!("{set} {}\n", sha256_file(path)?));
        }
        Ok(sha256(list.as_bytes()))
    }

    /// Returns the test file, without which there may be no validation file.
    fn test_file(&self) -> Result<Option<&Path>> {
        match (&self.validation, &self.test) {
            (Some(path), None) => Err(Error::Config(format!(
                "{} is the file of a validation set; give the file of a test set too",
                path.display()
            ))),
            (_, test) => Ok(test.as_deref()),
        }
    }
}
