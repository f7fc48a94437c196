//! Columns of a file of examples, which all its rows must have.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde_json::{Map, Value};

use super::{
    error::CompletionError,
    place::Place,
    schema::{Detected, find},
};
use crate::{
    error::Result,
    table::{Chunk, columns::list},
};

/// Columns of a file.
#[derive(Debug)]
pub(super) struct FileColumns {
    path: Arc<Path>,
    pub detected: Detected,
    /// Columns of the first row.
    first: BTreeSet<String>,
    /// Columns of all rows so far.
    all: BTreeSet<String>,
}

impl FileColumns {
    /// Detects the columns of a file by its first rows. The first row decides, unless columns that it
    /// lacks make a schema of it.
    ///
    /// # Errors
    /// Errors of `detect`.
    pub fn detect(
        chunk: &Chunk,
        detect: impl Fn(&[String]) -> Result<Detected, CompletionError>,
    ) -> Result<Self> {
        let first = chunk.columns_of_row(0);
        let (detected, first) = match detect(&first) {
            Ok(detected) => (detected, first),
            Err(_) => (detect(&chunk.columns())?, chunk.columns()),
        };
        let first: BTreeSet<String> = first.into_iter().collect();
        Ok(Self { path: Arc::clone(&chunk.source), detected, all: first.clone(), first })
    }

    /// Returns whether the rows of a chunk are of this file.
    pub fn are_of(&self, chunk: &Chunk) -> bool {
        *self.path == *chunk.source
    }

    /// Adds the columns of a chunk of this file.
    pub fn add(&mut self, chunk: &Chunk) {
        self.all.extend(chunk.columns());
    }

    /// Adds columns that a row lacks as `null`, for templates. The columns of an example are not
    /// added: a row without them is treated by its schema.
    ///
    /// # Errors
    /// [`Error::Line`](crate::Error::Line) if the row has columns that the first one has not in place of
    /// a column of the example.
    pub fn complete(&self, record: &mut Map<String, Value>, place: &Place) -> Result<()> {
        let Detected { input, completion, .. } = &self.detected;
        let needed = [input.as_ref(), completion.as_ref()];
        let is_incomplete = needed.iter().flatten().any(|name| !record.contains_key(*name));
        if is_incomplete && record.keys().any(|name| !self.first.contains(name)) {
            return Err(place.error(other_columns(record.keys(), &self.first)));
        }
        for name in self.all.iter().filter(|name| !needed.contains(&Some(name))) {
            // A name in another case is the same column.
            if find(record.keys(), name).is_none() {
                record.insert(name.clone(), Value::Null);
            }
        }
        Ok(())
    }
}

fn other_columns<'a>(
    columns: impl Iterator<Item = &'a String>,
    first: &BTreeSet<String>,
) -> String {
    format!(
        "the row has other columns than the first one, {} instead of {}; give every row the same columns",
        list(&columns.collect::<Vec<_>>()),
        list(&first.iter().collect::<Vec<_>>())
    )
}
