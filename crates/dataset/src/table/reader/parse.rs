//! Records as data frames: what polars parses of CSV and TSV.

use std::{io::Cursor, sync::Arc};

use polars::prelude::{
    Column, CsvReadOptions, DataFrame, DataType, Field, PolarsResult, Schema, SerReader,
};

use super::records::Dialect;

/// First line of what polars parses. Without it polars would take a text that begins with `x^`
/// for compressed data, and leave out a byte order mark.
pub(crate) const FIRST_LINE: &[u8] = b"0\n";

/// Parses records that a [`RecordCutter`](super::records::RecordCutter) has appended to [`FIRST_LINE`] into columns of strings.
pub(crate) fn parse(bytes: &[u8], names: &[String], dialect: Dialect) -> PolarsResult<DataFrame> {
    let field = |name: &String| Field::new(name.as_str().into(), DataType::String);
    let schema: Schema = names.iter().map(field).collect();
    if bytes.len() <= FIRST_LINE.len() {
        return Ok(DataFrame::empty_with_schema(&schema));
    }
    CsvReadOptions::default()
        .with_has_header(true)
        .with_schema(Some(Arc::new(schema)))
        .with_n_threads(Some(1))
        .map_parse_options(|options| {
            options
                .with_separator(dialect.separator)
                .with_quote_char(Some(dialect.output_quote()))
                .with_missing_is_null(false)
        })
        .into_reader_with_file_handle(Cursor::new(bytes))
        .finish()
}

/// Returns the cells of the first row.
pub(crate) fn first_row(frame: &DataFrame) -> Vec<String> {
    let cell = |column: &Column| {
        let value = column.str().ok().and_then(|strings| strings.get(0));
        value.unwrap_or_default().to_owned()
    };
    frame.columns().iter().map(cell).collect()
}
