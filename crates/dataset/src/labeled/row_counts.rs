//! Counts of used and skipped rows.

use serde::{Deserialize, Serialize};

/// Counts of the rows of a table, or of several tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows read.
    pub read: usize,
    /// Rows skipped because the text is empty or only white space.
    pub empty_text: usize,
    /// Rows skipped because they have a text and no label.
    pub without_label: usize,
    /// Labels, in alphabetical order, of a single example (with separate files, of a
    /// single training example): they occur in one set only, which is the training set
    /// if the split is stratified.
    pub singletons: Vec<String>,
}

impl RowCounts {
    /// Returns the number of rows that are used.
    pub fn used(&self) -> usize {
        self.read - self.empty_text - self.without_label
    }

    /// Adds the rows of another table, whose labels are among those of this one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.empty_text += other.empty_text;
        self.without_label += other.without_label;
    }
}
