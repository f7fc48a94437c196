//! The labeled rows of a table of any format.

use std::path::Path;

use super::{
    example::{LabeledRow, LabeledRows},
    source_files::SourceFile,
};
use crate::{
    error::{Error, Result},
    table::{
        Source, TableOptions, TableReader,
        columns::{Wanted, list},
    },
};

/// Rows read at a time.
const CHUNK: usize = 4096;

/// Rows, files and notes of a set.
pub(crate) struct TableRows {
    pub found: LabeledRows,
    pub files: Vec<SourceFile>,
    pub notes: Vec<String>,
}

/// Reads the rows that have a text and a label, and counts the others. All may have the
/// same label.
///
/// # Errors
/// In a TSV file without a header a line without a label is an error.
pub(crate) fn read(sources: &[Source], options: &TableOptions) -> Result<TableRows> {
    let reader = TableReader::of_sources(sources.iter().cloned(), options, Wanted::TextAndLabel)?;
    let mut reader = reader.only_text_and_label();
    let mut found = LabeledRows::default();
    let (mut names, mut files) = (Vec::new(), Vec::<SourceFile>::new());
    let path = reader.source().to_owned();
    while let Some(chunk) = reader.next_chunk(CHUNK)? {
        if chunk.rows().start == 0 {
            // Files before it may have no rows.
            while let Some(source) = sources.get(files.len()) {
                files.push(SourceFile::new(source.name(), found.counts.read));
                if source.name() == chunk.source() {
                    break;
                }
            }
        }
        if names.is_empty() {
            names = reader.columns(&chunk);
        }
        let headerless = reader.is_headerless() && !options.no_header;
        for (index, (text, label)) in chunk.texts().iter().zip(chunk.labels()).enumerate() {
            // Rows of one headerless file are its lines.
            let row = match (headerless, sources) {
                (true, [_]) => chunk.lines()[index] - 1,
                _ => found.counts.read,
            };
            if let (Some(file), Some(&line)) = (files.last_mut(), chunk.lines().get(index)) {
                file.push_line(row - file.first_row, line);
            }
            found.push(label.as_deref(), text.clone(), row);
        }
    }
    // A file without a header has no other column that could be meant.
    if reader.is_headerless() && !options.no_header {
        check_first_label(&path, &found.rows)?;
    } else {
        check(&path, &found, &names)?;
    }
    let rest = sources[files.len()..].iter();
    files.extend(rest.map(|source| SourceFile::new(source.name(), found.counts.read)));
    Ok(TableRows { found, files, notes: reader.take_notes() })
}

/// Refuses a headerless file whose first label occurs nowhere else, although every other label
/// does: its first line is a header.
fn check_first_label(path: &Path, rows: &[LabeledRow]) -> Result<()> {
    let Some((first, rest)) = rows.split_first() else {
        let reason = "the file has no examples; a line is a label, a tab and a text".to_owned();
        return Err(Error::Table { path: path.to_owned(), reason });
    };
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for row in rest {
        *counts.entry(&row.label).or_default() += 1;
    }
    let elsewhere = counts.contains_key(first.label.as_str());
    if elsewhere || counts.len() < 2 || counts.values().any(|&count| count < 2) {
        return Ok(());
    }
    let cells = list(&[&first.label, &first.text]);
    Err(Error::Header { path: path.to_owned(), line: first.row + 1, cells })
}

/// Refuses a table without an example.
fn check(path: &Path, found: &LabeledRows, columns: &[String]) -> Result<()> {
    let path = path.to_owned();
    if found.counts.read == 0 {
        let reason = "there is no row in it; give a file with labeled text".to_owned();
        return Err(Error::Table { path, reason });
    }
    if found.rows.is_empty() {
        return Err(Error::NoExamples {
            path,
            rows: found.counts.read,
            without_text: found.counts.empty_text,
            without_label: found.counts.without_label,
            columns: columns.to_vec(),
        });
    }
    Ok(())
}
