//! A whole table as labelled messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    messages::{Message, one_label, read_all},
    table::{Columns, Format, TableReader},
};

/// Rows that are read at a time.
const CHUNK: usize = 4096;

/// The rows of a table that can be learned from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// In the order of the table.
    pub messages: Vec<Message>,
    /// What became of the rows.
    pub counts: RowCounts,
}

/// What became of the rows of a table, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows that were read.
    pub read: usize,
    /// Rows that were left out because there was nothing, or only white space, in
    /// the text.
    pub empty_text: usize,
    /// Rows with a text that were left out because they had no label.
    pub without_label: usize,
    /// Labels, in alphabetical order, that a single row has (of files for each part,
    /// a single row of the training file): they are in one part alone, which is the
    /// training part if the split is stratified.
    pub singletons: Vec<String>,
}

impl RowCounts {
    /// Rows that are used.
    pub fn used(&self) -> usize {
        self.read - self.empty_text - self.without_label
    }

    /// Adds the rows of another table, which has labels of this one only.
    pub(crate) fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.empty_text += other.empty_text;
        self.without_label += other.without_label;
    }
}

/// Reads a whole table of labelled text; without `format` the extension of its
/// name decides. Rows without a text or a label are left out and counted.
///
/// A TSV file without a header is read by [`read_messages`](crate::read_messages), which leaves out
/// nothing: a line without a label is an error there, and an empty text a text.
///
/// [`Message::row`] is the row of the table, from 0; of a TSV file without a header
/// the line.
///
/// # Errors
/// What [`TableReader`] says of a file that cannot be read; [`Error::Table`] if no
/// row is left, or if all have the same label.
pub fn read_labelled(
    path: impl AsRef<Path>,
    format: Option<Format>,
    columns: &Columns,
) -> Result<Labelled> {
    let path = path.as_ref();
    let labelled = read_part(path, format, columns)?;
    let mut labels: BTreeMap<&str, usize> = BTreeMap::new();
    for message in &labelled.messages {
        *labels.entry(&message.label).or_default() += 1;
    }
    if let (Some((label, _)), 1) = (labels.first_key_value(), labels.len()) {
        return Err(one_label(path, label));
    }
    let once = labels.into_iter().filter(|&(_, count)| count == 1);
    let singletons = once.map(|(label, _)| label.to_owned()).collect();
    Ok(Labelled { counts: RowCounts { singletons, ..labelled.counts }, ..labelled })
}

/// As [`read_labelled`], of a part of the data, which may have one label only; the
/// singletons are not counted.
pub(crate) fn read_part(
    path: &Path,
    format: Option<Format>,
    columns: &Columns,
) -> Result<Labelled> {
    let mut reader = TableReader::open(path, format, columns, true)
        .map_err(|error| missing(error, columns, format))?;
    if reader.is_headless() {
        let messages = read_all(path)?;
        let counts = RowCounts { read: messages.len(), ..RowCounts::default() };
        return Ok(Labelled { messages, counts });
    }
    let (mut messages, mut counts) = (Vec::new(), RowCounts::default());
    let mut seen = Vec::new();
    while let Some(chunk) = reader.next_chunk(CHUNK)? {
        if seen.is_empty() {
            seen = chunk.columns();
        }
        counts.read += chunk.len();
        for ((row, text), label) in chunk.rows().zip(chunk.texts).zip(chunk.labels) {
            match label {
                _ if text.trim().is_empty() => counts.empty_text += 1,
                None => counts.without_label += 1,
                Some(label) => messages.push(Message { label, text, row }),
            }
        }
    }
    if counts.read == 0 {
        let reason = "there is no row in it; give a file with labelled text".to_owned();
        return Err(Error::Table { path: path.to_owned(), reason });
    }
    let distinct: BTreeSet<&str> = messages.iter().map(|row| row.label.as_str()).collect();
    if distinct.len() == messages.len() && messages.len() > 2 {
        let reason = format!(
            "each of its {} rows has a label of its own, from which nothing can be learned; name \
             the column of the labels with --label-column",
            messages.len()
        );
        return Err(Error::Table { path: path.to_owned(), reason });
    }
    if messages.is_empty() {
        return Err(Error::Table {
            path: path.to_owned(),
            reason: format!(
                "there is no row to learn from: of {} rows {} have no text and {} no label, and \
                 the columns are {}; name the ones to use with --text-column and --label-column",
                counts.read,
                counts.empty_text,
                counts.without_label,
                crate::table::list(&seen)
            ),
        });
    }
    Ok(Labelled { messages, counts })
}

/// The file that is looked for if nothing is said may not be there yet.
pub(crate) fn missing(error: Error, columns: &Columns, format: Option<Format>) -> Error {
    match error {
        Error::Read { path, cause }
            if cause.kind() == io::ErrorKind::NotFound
                && format.unwrap_or_else(|| Format::of(&path)) == Format::Tsv
                && *columns == Columns::default() =>
        {
            Error::Missing { path }
        }
        other => other,
    }
}
