//! Examples, before and after their labels become classes.

/// Labeled text as a classifier sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Class: the index of the label among the labels in alphabetical order.
    pub label: usize,
    /// Text as published; in a [`Split`](crate::Split), after [`Quotes`](crate::Quotes).
    pub text: String,
    /// Row of the source table from 0; line from 0 in a TSV file without a header.
    pub row: usize,
}

/// Labeled text as a table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabeledRow {
    pub label: String,
    pub text: String,
    pub row: usize,
}

impl LabeledRow {
    /// Returns the example, or `None` if `labels`, in alphabetical order, lack its label.
    pub fn example(&self, labels: &[String]) -> Option<Example> {
        let label = labels.binary_search(&self.label).ok()?;
        Some(Example { label, text: self.text.clone(), row: self.row })
    }
}
