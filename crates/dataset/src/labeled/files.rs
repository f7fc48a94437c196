//! Files of labeled text.

use std::path::{Path, PathBuf};

use storage::sha256;

use super::{
    example::Example,
    source_files::{SourceFile, SourceFiles},
    table_rows::{self, TableRows},
    text::LabeledText,
};
use crate::{
    error::{Error, Result},
    table::{Source, TableOptions, expand},
};

/// Files of labeled text and how to read them.
///
/// The defaults: the content and the extension decide the format, and the columns are called
/// `text` and `label`. Without separate files for the validation and test set, one table is
/// split. Each path may be a file, a directory of files, a pattern, a pipe, or `-` for
/// standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabeledFiles {
    /// Files of all examples, one after the other; the training set if `test` is given.
    pub paths: Vec<PathBuf>,
    /// File of the validation set; `None`: split off the training set.
    pub validation: Option<PathBuf>,
    /// File of the test set.
    pub test: Option<PathBuf>,
    /// Columns and format of each file.
    pub options: TableOptions,
}

/// The files of a [`LabeledFiles`]. Pipes are read.
pub(crate) struct LabeledSources {
    train: Vec<Source>,
    validation: Option<Vec<Source>>,
    test: Option<Vec<Source>>,
}

impl LabeledText {
    /// Describes a file of labeled text: CSV, TSV, JSON or Parquet.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be opened.
    pub fn open(path: impl Into<PathBuf>) -> Result<LabeledFiles> {
        let files = LabeledFiles::new(path);
        for path in &files.paths {
            std::fs::File::open(path).map_err(storage::Error::read(path))?;
        }
        Ok(files)
    }
}

impl LabeledFiles {
    /// Describes one file, which is not opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { paths: vec![path.into()], ..Self::default() }
    }

    /// Sets the name of the text column.
    pub fn text(mut self, column: impl Into<String>) -> Self {
        self.options.columns.text = Some(column.into());
        self
    }

    /// Sets the name of the label column.
    pub fn label(mut self, column: impl Into<String>) -> Self {
        self.options.columns.label = Some(column.into());
        self
    }

    /// Reads the files. Rows without a text or a label are skipped and counted.
    ///
    /// A TSV file without a header has a label, a tab and a text per line; a line without a
    /// label is an error.
    ///
    /// # Errors
    /// Errors of a file that cannot be read, as of [`TableReader`](crate::TableReader);
    /// [`Error::UnknownLabel`] for a label that the training set lacks; [`Error::Table`],
    /// [`Error::NoExamples`], [`Error::TooFewLabels`] or [`Error::SingleRowLabels`] for a
    /// table from which nothing can be learned; [`Error::ValidationWithoutTest`].
    pub fn read(&self) -> Result<LabeledText> {
        self.sources()?.read(&self.options)
    }

    /// Returns the SHA-256 of the file in hexadecimal; for several files, the SHA-256 of a
    /// list of their sets and checksums.
    ///
    /// # Errors
    /// [`Error::Storage`] for a file that cannot be read; [`Error::ValidationWithoutTest`].
    pub fn sha256(&self) -> Result<String> {
        self.sources()?.sha256()
    }

    /// Finds the files, and reads pipes, which can be read only once.
    pub(crate) fn sources(&self) -> Result<LabeledSources> {
        if let (Some(path), None) = (&self.validation, &self.test) {
            return Err(Error::ValidationWithoutTest { path: path.clone() });
        }
        let all = |paths: &[PathBuf]| -> Result<Vec<Source>> {
            expand(paths)?.into_iter().map(|path| Source::new(path).spooled()).collect()
        };
        let set = |path: &PathBuf| all(std::slice::from_ref(path));
        Ok(LabeledSources {
            train: all(&self.paths)?,
            validation: self.validation.as_ref().map(set).transpose()?,
            test: self.test.as_ref().map(set).transpose()?,
        })
    }
}

impl LabeledSources {
    /// Returns the names of the files of the training, validation and test set.
    pub fn names(&self) -> [Option<Vec<PathBuf>>; 3] {
        [Some(&self.train), self.validation.as_ref(), self.test.as_ref()].map(|sources| {
            sources.map(|sources| sources.iter().map(|it| it.name().to_owned()).collect())
        })
    }

    pub fn read(&self, options: &TableOptions) -> Result<LabeledText> {
        let TableRows { found, files, mut notes } = table_rows::read(&self.train, options)?;
        let mut text = LabeledText::from_rows(found, Some(name(&self.train)))?;
        let mut files = SourceFiles { train: files, ..SourceFiles::default() };
        if let Some(test) = &self.test {
            let mut add = |sources: &[Source]| -> Result<(Vec<Example>, Vec<SourceFile>)> {
                let mut set = table_rows::read(sources, options)?;
                notes.append(&mut set.notes);
                Ok((text.add(name(sources), &set.found)?, set.files))
            };
            let validation = self.validation.as_deref().map(&mut add).transpose()?;
            let (validation, validation_files) = validation.unzip();
            let (test, test_files) = add(test)?;
            (files.validation, files.test) = (validation_files, Some(test_files));
            text = text.with_sets(validation, test);
        }
        Ok(text.with_files(files, notes))
    }

    pub fn sha256(&self) -> Result<String> {
        if let ([source], None) = (&*self.train, &self.test) {
            return source.sha256();
        }
        let mut list = String::new();
        let sets = [("train", Some(&self.train)), ("test", self.test.as_ref())];
        for (set, sources) in sets.into_iter().chain([("validation", self.validation.as_ref())]) {
            for source in sources.into_iter().flatten() {
                list.push_str(&format!("{set} {}\n", source.sha256()?));
            }
        }
        Ok(sha256(list.as_bytes()))
    }
}

/// Returns the name of the first file, for errors of a whole table.
fn name(sources: &[Source]) -> &Path {
    sources.first().map_or(Path::new(""), Source::name)
}
