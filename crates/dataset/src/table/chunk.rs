//! Some rows of a table.

use std::{ops::Range, path::Path, sync::Arc};

use super::records::Records;

/// Some rows of a table, one after the other: the text and the label of each, and
/// the whole records, which [`TableWriter`](crate::TableWriter) puts out again.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub(crate) texts: Vec<String>,
    pub(crate) labels: Vec<Option<String>>,
    pub(crate) first: usize,
    pub(crate) records: Records,
    pub(crate) source: Arc<Path>,
}

impl Chunk {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The text of each row; empty where there is none.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The label of each row, if it has one, as the file spells it: `spam`, `3`,
    /// `true`.
    pub fn labels(&self) -> &[Option<String>] {
        &self.labels
    }

    /// Numbers of the rows in the table, from 0; neither a header nor empty lines
    /// count.
    pub fn rows(&self) -> Range<usize> {
        self.first..self.first + self.len()
    }

    /// What messages call the table that they are of.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Names of the columns, in their order. Records of JSON Lines have as many as
    /// there are among them.
    pub fn columns(&self) -> Vec<String> {
        self.records.names()
    }
}

/// Rows as a format reads them, not yet numbered.
#[derive(Debug, Default)]
pub(crate) struct Columned {
    pub texts: Vec<String>,
    pub labels: Vec<Option<String>>,
    pub records: Records,
}

impl Columned {
    pub fn push(&mut self, text: String, label: Option<String>) {
        self.texts.push(text);
        self.labels.push(label);
    }
}
