//! Labeled text in memory.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use super::{
    duplicates::conflicting,
    example::{Example, LabeledRow, LabeledRows},
    label::{self, LabelIndex, alike, spell_whole_numbers},
    row_counts::RowCounts,
    source_files::SourceFiles,
};
use crate::{
    error::{Error, Result},
    split::error::SplitError,
};

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
    files: SourceFiles,
    notes: Vec<String>,
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
    /// Takes pairs of a label and a text. Pairs without a text or a label are skipped and
    /// counted.
    ///
    /// # Errors
    /// [`Error::TooFewLabels`] if there are fewer than two labels; [`Error::SingleRowLabels`].
    pub fn new<L: AsRef<str>, T: Into<String>>(
        examples: impl IntoIterator<Item = (L, T)>,
    ) -> Result<Self> {
        let mut found = LabeledRows::default();
        for (row, (label, text)) in examples.into_iter().enumerate() {
            found.push(Some(label.as_ref()), text.into(), row);
        }
        Self::from_rows(found, None)
    }

    /// Takes the rows of one file.
    pub(crate) fn from_rows(found: LabeledRows, path: Option<&Path>) -> Result<Self> {
        let LabeledRows { mut rows, counts } = found;
        spell_whole_numbers(rows.iter_mut().map(|row| &mut row.label));
        let mut examples_of: HashMap<&str, usize> = HashMap::new();
        for row in &rows {
            *examples_of.entry(&row.label).or_default() += 1;
        }
        let mut labels: Vec<String> = examples_of.keys().map(|&label| label.to_owned()).collect();
        label::sort(&mut labels);
        if labels.len() < 2 {
            let (path, label) = (path.map(Path::to_owned), labels.pop());
            return Err(Error::TooFewLabels { path, label });
        }
        let examples: Vec<usize> = labels.iter().map(|label| examples_of[&**label]).collect();
        let once = labels.iter().zip(&examples).filter(|&(_, &count)| count == 1);
        let singletons: Vec<String> = once.map(|(label, _)| label.clone()).collect();
        check_singletons(&singletons, labels.len(), &rows, path)?;
        let classes = LabelIndex::new(&labels);
        let counts = RowCounts { examples, singletons, alike: alike(&labels), ..counts };
        let examples = rows.iter().filter_map(|row| row.example(&classes)).collect();
        let text = Self {
            labels,
            sets: Sets::One(examples),
            counts,
            files: SourceFiles::default(),
            notes: Vec::new(),
            path: path.map(Path::to_owned),
        };
        Ok(text.count_conflicts())
    }

    /// Counts the texts with more than one label, in all sets.
    fn count_conflicts(mut self) -> Self {
        self.counts.conflicting_texts = match &self.sets {
            Sets::One(examples) => conflicting(examples.iter()),
            Sets::Separate { train, validation, test } => {
                conflicting(train.iter().chain(validation.iter().flatten()).chain(test))
            }
        };
        self
    }

    /// Returns the examples of the file of another set, and adds its row counts.
    ///
    /// # Errors
    /// [`Error::UnknownLabel`] for a label that the training set lacks.
    pub(crate) fn add(&mut self, path: &Path, found: &LabeledRows) -> Result<Vec<Example>> {
        self.counts.add(&found.counts);
        let classes = LabelIndex::new(&self.labels);
        let example = |row: &LabeledRow| {
            row.example(&classes).ok_or_else(|| Error::UnknownLabel {
                path: path.to_owned(),
                row: row.row + 1,
                label: row.label.clone(),
                of: match &self.path {
                    Some(path) => format!("the training file {}", path.display()),
                    None => "the training set".to_owned(),
                },
                labels: self.labels.clone(),
            })
        };
        found.rows.iter().map(example).collect()
    }

    /// Makes the examples the training set beside these two.
    pub(crate) fn with_sets(self, validation: Option<Vec<Example>>, test: Vec<Example>) -> Self {
        let (Sets::One(train) | Sets::Separate { train, .. }) = self.sets;
        Self { sets: Sets::Separate { train, validation, test }, ..self }.count_conflicts()
    }

    pub(crate) fn with_files(self, files: SourceFiles, notes: Vec<String>) -> Self {
        Self { files, notes, ..self }
    }

    /// Returns the files that the examples come from; none if they are from memory.
    pub fn files(&self) -> &SourceFiles {
        &self.files
    }

    /// Returns what was detected of the files and what may surprise, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the labels; the index of a label is its class. They are in the order of their
    /// values if all are whole numbers, otherwise in alphabetical order.
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
    pub(crate) fn split_error(&self, problem: SplitError) -> Error {
        Error::Split { path: self.path.clone(), problem }
    }
}

/// Refuses labels that are not classes: most of them have a single row, and there is more
/// than one for every three rows. Few labels may be all that a small table has.
fn check_singletons(
    singletons: &[String],
    labels: usize,
    rows: &[LabeledRow],
    path: Option<&Path>,
) -> Result<()> {
    let once = singletons.len();
    let is_implausible = labels > 2
        && 2 * once > labels
        && 3 * labels > rows.len()
        && (labels > 10 || 2 * once > rows.len());
    match singletons.first() {
        Some(example) if is_implausible => Err(Error::SingleRowLabels {
            path: path.map(Path::to_owned),
            singletons: once,
            labels,
            texts: rows.iter().map(|row| &row.text).collect::<HashSet<_>>().len(),
            example: example.clone(),
        }),
        _ => Ok(()),
    }
}
