//! Counts of used and skipped rows, and findings about labels.

use serde::{Deserialize, Serialize};

/// Counts of the rows of a table, or of several tables, and findings about their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows read.
    pub read: usize,
    /// Rows skipped because the text is empty ([`is_empty_text`](crate::is_empty_text)).
    pub empty_text: usize,
    /// Rows skipped because they have a text and no label.
    pub without_label: usize,
    /// Examples of each class before balancing, in the order of the classes; with separate
    /// files, of the training file.
    #[serde(default)]
    pub examples: Vec<usize>,
    /// Labels of a single example (with separate files, of a single training example): they
    /// occur in one set only, which is the training set if the split is stratified.
    pub singletons: Vec<String>,
    /// Groups of labels that differ only in capitals, white space, Unicode compatibility or
    /// leading zeros. Each label is a class nevertheless.
    #[serde(default)]
    pub alike: Vec<Vec<String>>,
    /// Texts that occur with more than one label.
    #[serde(default)]
    pub conflicting_texts: usize,
}

impl RowCounts {
    /// Returns the number of rows that are used.
    pub fn used(&self) -> usize {
        self.read - self.empty_text - self.without_label
    }

    /// Adds the rows of another table, whose labels this table has too.
    pub(crate) fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.empty_text += other.empty_text;
        self.without_label += other.without_label;
    }
}
