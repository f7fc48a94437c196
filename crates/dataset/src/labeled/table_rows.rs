//! The labeled rows of a table of any format.

use std::{collections::BTreeSet, path::Path};

use super::{example::LabeledRow, headerless_tsv, row_counts::RowCounts};
use crate::{
    error::{Error, Result},
    table::{Columns, Format, TableReader},
};

/// Rows read at a time.
const CHUNK: usize = 4096;

/// Reads the rows that have a text and a label, and counts the others. All may have the
/// same label.
///
/// A TSV file without a header has no row to skip: a line without a label is an error
/// there, and an empty text is kept.
pub(crate) fn read(
    path: &Path,
    format: Option<Format>,
    columns: &Columns,
) -> Result<(Vec<LabeledRow>, RowCounts)> {
    let mut reader = TableReader::open(path, format, columns, true)?;
    if reader.is_headless() {
        let rows = headerless_tsv::read(path)?;
        let counts = RowCounts { read: rows.len(), ..RowCounts::default() };
        return Ok((rows, counts));
    }
    let (mut rows, mut counts) = (Vec::new(), RowCounts::default());
    let mut names = Vec::new();
    while let Some(chunk) = reader.next_chunk(CHUNK)? {
        if names.is_empty() {
            names = chunk.columns();
        }
        counts.read += chunk.len();
        for ((row, text), label) in chunk.rows().zip(chunk.texts).zip(chunk.labels) {
            match label {
                _ if text.trim().is_empty() => counts.empty_text += 1,
                None => counts.without_label += 1,
                Some(label) => rows.push(LabeledRow { label, text, row }),
            }
        }
    }
    check(path, &rows, &counts, names)?;
    Ok((rows, counts))
}

/// Refuses tables from which nothing can be learned.
fn check(path: &Path, rows: &[LabeledRow], counts: &RowCounts, columns: Vec<String>) -> Result<()> {
    let path = path.to_owned();
    if counts.read == 0 {
        let reason = "there is no row in it; give a file with labeled text".to_owned();
        return Err(Error::Table { path, reason });
    }
    let distinct: BTreeSet<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    if distinct.len() == rows.len() && rows.len() > 2 {
        return Err(Error::UniqueLabels { path, rows: rows.len() });
    }
    if rows.is_empty() {
        return Err(Error::NoExamples {
            path,
            rows: counts.read,
            without_text: counts.empty_text,
            without_label: counts.without_label,
            columns,
        });
    }
    Ok(())
}
