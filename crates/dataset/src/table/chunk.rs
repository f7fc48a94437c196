//! Consecutive rows of a table.

use std::{ops::Range, path::Path, sync::Arc};

use polars::prelude::DataFrame;

use super::json::Object;
use crate::error::{Error, Position};

/// Consecutive rows of a table: the text and label of each, and the whole records, which
/// [`TableWriter`](crate::TableWriter) writes again.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub(crate) rows: Rows,
    pub(crate) first: usize,
    pub(crate) names: Arc<[String]>,
    pub(crate) metadata: Metadata,
    pub(crate) source: Arc<Path>,
}

/// Parquet data beside the rows.
pub(crate) type Metadata = Arc<PassedOn>;

/// Key-value metadata of a Parquet file, and the columns whose type changes if it is written
/// as Parquet again.
#[derive(Debug, Default)]
pub(crate) struct PassedOn {
    pub pairs: Vec<(String, String)>,
    pub retyped: Vec<String>,
}

/// Rows as a reader returns them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub texts: Vec<String>,
    pub labels: Vec<Option<String>>,
    /// First line of each row, from 1; none in Parquet.
    pub lines: Vec<usize>,
    pub records: Records,
}

/// Whole records.
#[derive(Clone, Debug)]
pub(crate) enum Records {
    /// CSV and TSV as strings, Parquet with its types.
    Frame(DataFrame),
    /// JSON, whose values keep their spelling.
    Objects(Vec<Object>),
}

impl Default for Records {
    fn default() -> Self {
        Self::Frame(DataFrame::empty())
    }
}

impl Rows {
    /// Adds a row. An empty label counts as missing. Refuses text and labels with a NUL byte,
    /// with the problem.
    pub fn push(&mut self, text: &str, label: Option<&str>) -> Result<(), String> {
        let label = label.filter(|label| !label.trim().is_empty());
        for (role, value) in [("text", Some(text)), ("label", label)] {
            if value.is_some_and(|value| value.contains('\0')) {
                return Err(format!("the {role} has a NUL byte; remove it"));
            }
        }
        self.texts.push(text.to_owned());
        self.labels.push(label.map(str::to_owned));
        Ok(())
    }
}

impl Rows {
    /// Adds records of which neither text nor label is wanted.
    pub fn push_records(&mut self, count: usize) {
        self.texts.resize(self.texts.len() + count, String::new());
        self.labels.resize(self.labels.len() + count, None);
    }
}

impl Chunk {
    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows.texts.len()
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.texts.is_empty()
    }

    /// Returns the text of each row; empty where it is missing.
    pub fn texts(&self) -> &[String] {
        &self.rows.texts
    }

    /// Returns the label of each row, if it has one, as the file spells it: `spam`, `3`,
    /// `true`, `1.0`.
    pub fn labels(&self) -> &[Option<String>] {
        &self.rows.labels
    }

    /// Returns the numbers of the rows in their file, from 0; headers and empty lines do not
    /// count.
    pub fn rows(&self) -> Range<usize> {
        self.first..self.first + self.len()
    }

    /// Returns the first line of each row, from 1; empty for Parquet.
    pub fn lines(&self) -> &[usize] {
        &self.rows.lines
    }

    /// Returns the name of the file in messages.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Returns where a row is in its file, by its index in the chunk.
    pub fn position(&self, index: usize) -> Position {
        match self.rows.lines.get(index) {
            Some(&line) => Position::Line(line),
            None => Position::Row(self.first + index + 1),
        }
    }

    /// Returns the error of a row, by its index in the chunk.
    pub fn error(&self, index: usize, reason: String) -> Error {
        Error::at(&self.source, self.position(index), reason)
    }

    /// Returns the names of the columns in their order. Records of JSON have as many as occur
    /// in the chunk.
    pub fn columns(&self) -> Vec<String> {
        match &self.rows.records {
            Records::Frame(_) => self.names.to_vec(),
            Records::Objects(objects) => Object::names_of(objects),
        }
    }

    /// Returns the names of the columns of a row, by its index in the chunk: in JSON the keys of the
    /// object.
    pub(crate) fn columns_of_row(&self, index: usize) -> Vec<String> {
        match &self.rows.records {
            Records::Frame(_) => self.names.to_vec(),
            Records::Objects(objects) => {
                let names = objects.get(index).map(Object::names).unwrap_or_default();
                names.into_iter().map(str::to_owned).collect()
            }
        }
    }
}
