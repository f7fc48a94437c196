//! Messages from a tab-separated file.

use std::{collections::BTreeSet, fs, io, io::Cursor, path::Path, sync::Arc};

use polars::prelude::{
    CsvReadOptions, DataFrame, DataType, Field, PolarsResult, Schema, SerReader,
};

use crate::{
    error::{Error, Result},
    table::{LONGEST_LINE, NUL, not_utf8, too_long},
};

/// One labelled message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the message is, as the file writes it: `ham` or `spam`, or any other.
    pub label: String,
    /// What it says, as published.
    pub text: String,
    /// Its line in the file, from 0; its row in a table with a header.
    pub row: usize,
}

/// Reads a UTF-8 file with one message a line: the label, a tab, the text.
///
/// There is no header and no quoting: a `"` is text. Lines end with `\n` or
/// `\r\n`; empty ones are passed over.
///
/// # Errors
/// [`Error::Missing`] if there is no such file; [`Error::Line`] for the first
/// line that is no message; [`Error::Table`] if there is no message, or if all
/// have the same label.
pub fn read_messages(path: impl AsRef<Path>) -> Result<Vec<Message>> {
    let path = path.as_ref();
    let messages = read_all(path)?;
    let labels: BTreeSet<&str> = messages.iter().map(|message| message.label.as_str()).collect();
    match (labels.first(), labels.len()) {
        (Some(label), 1) => Err(one_label(path, label)),
        _ => Ok(messages),
    }
}

/// As [`read_messages`], of messages that may all have the same label.
pub(crate) fn read_all(path: &Path) -> Result<Vec<Message>> {
    parse(path, &read_source(path)?)
}

pub(crate) fn one_label(path: &Path, label: &str) -> Error {
    Error::Table {
        path: path.to_owned(),
        reason: format!(
            "every message has the label {label:?}; a classifier needs at least two labels"
        ),
    }
}

fn read_source(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        _ => Error::Read { path: path.to_owned(), cause },
    })
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Message>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let rows = check_lines(bytes).map_err(|(line, reason)| Error::Line {
        path: path.to_owned(),
        line,
        reason,
    })?;
    let table = |reason: String| Error::Table { path: path.to_owned(), reason };
    if rows.is_empty() {
        return Err(table("the file has no messages; a line is a label, a tab and a text".into()));
    }
    let columns = read_table(bytes)
        .and_then(|table| pairs(&table))
        .map_err(|cause| table(format!("not a tab-separated table: {cause}")))?;
    // Lines without a label are the empty ones, which `rows` does not have either.
    let columns: Vec<_> = columns.into_iter().filter(|(label, _)| !label.is_empty()).collect();
    if columns.len() != rows.len() {
        let (read, lines) = (columns.len(), rows.len());
        return Err(table(format!("{read} messages were read from {lines} lines")));
    }
    Ok(columns
        .into_iter()
        .zip(rows)
        .map(|((label, text), row)| Message { label, text, row })
        .collect())
}

/// The numbers, from 0, of the lines that hold a message; or the number, from 1,
/// of the first line that should and what is wrong with it. Polars would pass
/// over most of this, or fill it up, or report it without the line.
fn check_lines(bytes: &[u8]) -> Result<Vec<usize>, (usize, String)> {
    let mut rows = Vec::new();
    for (row, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        if line.len() > LONGEST_LINE {
            return Err((row + 1, too_long()));
        }
        let line = str::from_utf8(line).map_err(|error| {
            let byte = line[error.valid_up_to()];
            (row + 1, not_utf8(byte))
        })?;
        if line.contains('\0') {
            return Err((row + 1, NUL.to_owned()));
        }
        match problem_of(line.matches('\t').count(), line.starts_with('\t')) {
            None => rows.push(row),
            Some(problem) => return Err((row + 1, problem)),
        }
    }
    Ok(rows)
}

/// What is wrong with a line that has so many tabs, if anything is.
pub(crate) fn problem_of(tabs: usize, begins_with_tab: bool) -> Option<String> {
    match tabs {
        0 => Some("there is no tab between a label and a text".to_owned()),
        1 if begins_with_tab => Some("there is no label before the tab".to_owned()),
        1 => None,
        _ => Some(format!("there are {tabs} tabs; replace those of the text by spaces")),
    }
}

fn read_table(bytes: &[u8]) -> PolarsResult<DataFrame> {
    let column = |name: &str| Field::new(name.into(), DataType::String);
    let schema = Schema::from_iter([column("label"), column("text")]);
    CsvReadOptions::default()
        .with_has_header(false)
        .with_schema(Some(Arc::new(schema)))
        .map_parse_options(|options| {
            options.with_separator(b'\t').with_quote_char(None).with_missing_is_null(false)
        })
        .into_reader_with_file_handle(Cursor::new(bytes))
        .finish()
}

fn pairs(table: &DataFrame) -> PolarsResult<Vec<(String, String)>> {
    let owned = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let (labels, texts) = (table.column("label")?.str()?, table.column("text")?.str()?);
    Ok(labels.iter().map(owned).zip(texts.iter().map(owned)).collect())
}
