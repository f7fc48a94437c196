//! Examples, before and after their labels become classes.

use super::{
    empty_text::is_empty_text,
    label::{LabelIndex, normalize_label},
    row_counts::RowCounts,
};

/// Labeled text as a classifier sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Class: the index of the label among the sorted labels.
    pub label: usize,
    /// Text as published; in a [`Split`](crate::Split), after [`Quotes`](crate::Quotes).
    pub text: String,
    /// Row of the source table from 0; line from 0 in a TSV file without a header.
    pub row: usize,
}

/// Labeled text as a table has it, with a normalized label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabeledRow {
    pub label: String,
    pub text: String,
    pub row: usize,
}

impl LabeledRow {
    /// Returns the example, or `None` if its label is unknown.
    pub fn example(&self, classes: &LabelIndex) -> Option<Example> {
        let label = classes.class(&self.label)?;
        Some(Example { label, text: self.text.clone(), row: self.row })
    }
}

/// Collector of the rows that have a text and a label; the others are counted.
#[derive(Debug, Default)]
pub(crate) struct LabeledRows {
    pub rows: Vec<LabeledRow>,
    pub counts: RowCounts,
}

impl LabeledRows {
    /// Adds a row as a table has it.
    pub fn push(&mut self, label: Option<&str>, text: String, row: usize) {
        self.counts.read += 1;
        if is_empty_text(&text) {
            self.counts.empty_text += 1;
            return;
        }
        match label.map(normalize_label).filter(|label| !label.is_empty()) {
            Some(label) => self.rows.push(LabeledRow { label, text, row }),
            None => self.counts.without_label += 1,
        }
    }
}
