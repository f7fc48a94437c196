//! Labeled text in memory.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    example::{Example, LabeledRow},
    row_counts::RowCounts,
};
use crate::error::{Error, Result};

/// Labeled text in memory: examples and their labels.
///
/// [`LabeledText::open`] reads it from a file, [`LabeledText::new`] takes it from memory,
/// and [`LabeledText::split`] makes training, validation and test set of it.
///
/// ```
/// use dataset::LabeledText;
///
/// let data = LabeledText::new([("ham", "see you"), ("spam", "WIN"), ("ham", "ok")])?;
/// assert_eq!(data.labels(), ["ham", "spam"]);
/// assert_eq!(data.examples()[1].label, 1);
/// assert_eq!(data.counts().singletons, ["spam"]);
/// # Ok::<(), dataset::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabeledText {
    labels: Vec<String>,
    sets: Sets,
    counts: RowCounts,
    /// File of the examples or of the training set, for error messages.
    path: Option<PathBuf>,
}

/// Examples that are to be split, or sets that are separate files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sets {
    One(Vec<Example>),
    Separate { train: Vec<Example>, validation: Option<Vec<Example>>, test: Vec<Example> },
}

impl LabeledText {
    /// Takes pairs of a label and a text.
    ///
    /// # Errors
    /// [`Error::Config`] if there are fewer than two labels.
    pub fn new<L: Into<String>, T: Into<String>>(
        examples: impl IntoIterator<Item = (L, T)>,
    ) -> Result<Self> {
        let row = |(row, (label, text)): (usize, (L, T))| LabeledRow {
            label: label.into(),
            text: text.into(),
            row,
        };
        let rows: Vec<LabeledRow> = examples.into_iter().enumerate().map(row).collect();
        let counts = RowCounts { read: rows.len(), ..RowCounts::default() };
        Self::from_rows(&rows, counts, None)
    }

    /// Takes the rows of one file.
    pub(crate) fn from_rows(
        rows: &[LabeledRow],
        counts: RowCounts,
        path: Option<&Path>,
    ) -> Result<Self> {
        let mut examples_of: BTreeMap<&str, usize> = BTreeMap::new();
        for row in rows {
            *examples_of.entry(&row.label).or_default() += 1;
        }
        if examples_of.len() < 2 {
            let problem = match examples_of.keys().next() {
                Some(label) => format!("every example has the label {label:?}"),
                None => "there is no example".to_owned(),
            };
            let reason = format!("{problem}; a classifier needs at least two labels");
            return Err(unusable(path, reason));
        }
        let once = examples_of.iter().filter(|&(_, &count)| count == 1);
        let singletons = once.map(|(&label, _)| label.to_owned()).collect();
        let labels: Vec<String> = examples_of.into_keys().map(str::to_owned).collect();
        let examples = rows.iter().filter_map(|row| row.example(&labels)).collect();
        Ok(Self {
            labels,
            sets: Sets::One(examples),
            counts: RowCounts { singletons, ..counts },
            path: path.map(Path::to_owned),
        })
    }

    /// Returns the examples of the file of another set, and adds its row counts.
    ///
    /// # Errors
    /// [`Error::Row`] for a label that the training set lacks.
    pub(crate) fn add(
        &mut self,
        path: &Path,
        rows: &[LabeledRow],
        counts: &RowCounts,
    ) -> Result<Vec<Example>> {
        self.counts.add(counts);
        let example = |row: &LabeledRow| {
            row.example(&self.labels).ok_or_else(|| Error::Row {
                path: path.to_owned(),
                row: row.row + 1,
                reason: format!(
                    "its label {:?} is not among the {} labels of the training file {}",
                    row.label,
                    self.labels.len(),
                    self.path.as_deref().unwrap_or(Path::new("")).display()
                ),
            })
        };
        rows.iter().map(example).collect()
    }

    /// Makes the examples the training set beside these two.
    pub(crate) fn with_sets(self, validation: Option<Vec<Example>>, test: Vec<Example>) -> Self {
        let (Sets::One(train) | Sets::Separate { train, .. }) = self.sets;
        Self { sets: Sets::Separate { train, validation, test }, ..self }
    }

    /// Returns the labels in alphabetical order; the index of a label is its class.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Returns the examples in the order of their file; with separate files, the training
    /// set.
    pub fn examples(&self) -> &[Example] {
        match &self.sets {
            Sets::One(examples) | Sets::Separate { train: examples, .. } => examples,
        }
    }

    /// Returns the counts of used and skipped rows of all files.
    pub fn counts(&self) -> &RowCounts {
        &self.counts
    }

    pub(crate) fn sets(&self) -> &Sets {
        &self.sets
    }

    /// Returns an error that names the file, if the examples are from one.
    pub(crate) fn error(&self, reason: String) -> Error {
        unusable(self.path.as_deref(), reason)
    }
}

fn unusable(path: Option<&Path>, reason: String) -> Error {
    match path {
        Some(path) => Error::Table { path: path.to_owned(), reason },
        None => Error::Config(reason),
    }
}
