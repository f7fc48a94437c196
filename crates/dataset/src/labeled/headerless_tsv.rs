//! TSV files without a header: a label, a tab and a text per line.

use std::{fs, io::Cursor, path::Path, sync::Arc};

use polars::prelude::{
    CsvReadOptions, DataFrame, DataType, Field, PolarsResult, Schema, SerReader,
};

use super::example::LabeledRow;
use crate::{
    error::{Error, Result},
    table::{LONGEST_LINE, NUL, label_text_problem, not_utf8, too_long},
};

/// Reads a UTF-8 file with a label, a tab and a text per line.
///
/// There is neither header nor quoting: a `"` is text. Lines end with `\n` or `\r\n`;
/// empty lines are skipped.
pub(crate) fn read(path: &Path) -> Result<Vec<LabeledRow>> {
    parse(path, &fs::read(path).map_err(storage::Error::read(path))?)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<LabeledRow>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let rows = check_lines(bytes).map_err(|(line, reason)| Error::Line {
        path: path.to_owned(),
        line,
        reason,
    })?;
    let table = |reason: String| Error::Table { path: path.to_owned(), reason };
    if rows.is_empty() {
        return Err(table("the file has no examples; a line is a label, a tab and a text".into()));
    }
    let columns = read_table(bytes)
        .and_then(|table| labels_and_texts(&table))
        .map_err(|cause| table(format!("not a tab-separated table: {cause}")))?;
    // Lines without a label are the empty ones, which `rows` does not have either.
    let columns: Vec<_> = columns.into_iter().filter(|(label, _)| !label.is_empty()).collect();
    if columns.len() != rows.len() {
        let (read, lines) = (columns.len(), rows.len());
        return Err(table(format!("{read} examples were read from {lines} lines")));
    }
    Ok(columns
        .into_iter()
        .zip(rows)
        .map(|((label, text), row)| LabeledRow { label, text, row })
        .collect())
}

/// Returns the numbers, from 0, of the lines with an example; or the number, from 1, of
/// the first malformed line, and its problem. Polars would accept most malformed lines, or
/// report them without their number.
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
        match label_text_problem(line.matches('\t').count(), line.starts_with('\t')) {
            None => rows.push(row),
            Some(problem) => return Err((row + 1, problem)),
        }
    }
    Ok(rows)
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

fn labels_and_texts(table: &DataFrame) -> PolarsResult<Vec<(String, String)>> {
    let owned = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let (labels, texts) = (table.column("label")?.str()?, table.column("text")?.str()?);
    Ok(labels.iter().map(owned).zip(texts.iter().map(owned)).collect())
}
