//! Parquet, read page by page.

use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
};

use arrow_array::{Array, ArrayRef, LargeStringArray, RecordBatch, cast::AsArray};
use arrow_schema::DataType;
use parquet::{
    arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    errors::ParquetError,
    file::metadata::ParquetMetaData,
};

use super::{
    lines::{NUL, not_utf8},
    parquet_errors::{find_not_utf8, guarded},
};
use crate::{
    error::{Error, Result},
    table::{
        LARGEST_CHUNK,
        chunk::Columned,
        columns::{Columns, Places, twice},
        records::Records,
    },
};

/// Rows that are decoded at a time, fewer where they are long. A row group, which
/// may be as large as the file, is not read as a whole.
const BATCH: usize = 1024;

/// Reader of a Parquet file.
pub(crate) struct Parquet {
    /// `None` once it has failed.
    reader: Option<ParquetRecordBatchReader>,
    places: Places,
    path: PathBuf,
    /// Decoded, and not yet asked for.
    pending: Option<RecordBatch>,
    /// Rows that were given.
    row: usize,
    empty: RecordBatch,
}

impl Parquet {
    pub fn open(file: File, path: &Path, columns: &Columns, wants_label: bool) -> Result<Self> {
        let table = |reason: String| Error::Table { path: path.to_owned(), reason };
        let damaged = |cause: ParquetError| {
            table(format!("it cannot be read as Parquet and may be damaged: {cause}"))
        };
        let builder =
            guarded(|| ParquetRecordBatchReaderBuilder::try_new(file)).map_err(damaged)?;
        let schema = builder.schema().clone();
        let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
        if let Some(name) = twice(&names) {
            return Err(table(format!("it has the column {name:?} twice; rename one")));
        }
        let places = columns.places(&names, wants_label).map_err(|problem| Error::Columns {
            path: path.to_owned(),
            line: None,
            problem,
        })?;
        let kind = |place: usize| schema.field(place).data_type();
        if !is_text(kind(places.text)) {
            return Err(table(format!(
                "the column {:?} is of the type {}; a text must be a string",
                names[places.text],
                kind(places.text)
            )));
        }
        if let Some(place) = places.label.filter(|&place| !is_label(kind(place))) {
            return Err(table(format!(
                "the column {:?} is of the type {}; a label must be a string, a whole number or a \
                 boolean",
                names[place],
                kind(place)
            )));
        }
        let batch = batch_size(builder.metadata());
        let reader = guarded(|| builder.with_batch_size(batch).build()).map_err(damaged)?;
        let empty = RecordBatch::new_empty(schema.clone());
        Ok(Self {
            reader: Some(reader),
            places,
            path: path.to_owned(),
            pending: None,
            row: 0,
            empty,
        })
    }

    pub fn no_rows(&self) -> Records {
        Records::Batch(self.empty.clone())
    }

    /// Returns the next rows, at most `most`.
    pub fn next_chunk(&mut self, most: usize) -> Result<Option<Columned>> {
        let Some(batch) = self.next_batch()? else { return Ok(None) };
        let count = batch.num_rows().min(most);
        if count < batch.num_rows() {
            self.pending = Some(batch.slice(count, batch.num_rows() - count));
        }
        let batch = batch.slice(0, count);
        let texts = self.strings(batch.column(self.places.text))?;
        let labels =
            self.places.label.map(|place| self.strings(batch.column(place))).transpose()?;
        let mut chunk = Columned::default();
        for (row, text) in texts.iter().enumerate() {
            let text = text.unwrap_or_default();
            if text.contains('\0') {
                return Err(self.error(self.row + row, NUL.to_owned()));
            }
            let label = labels.as_ref().filter(|labels| labels.is_valid(row));
            let label = label.map(|labels| labels.value(row).to_owned());
            chunk.push(text.to_owned(), label.filter(|label| !label.trim().is_empty()));
        }
        self.row += count;
        chunk.records = Records::Batch(batch);
        Ok(Some(chunk))
    }

    /// What is left of the last batch, or the next one that has rows.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(batch) = self.pending.take() {
            return Ok(Some(batch));
        }
        while let Some(reader) = &mut self.reader {
            match guarded(|| Ok(reader.next().transpose()?)) {
                Ok(Some(batch)) if batch.num_rows() == 0 => {}
                Ok(batch) => return Ok(batch),
                Err(cause) => {
                    self.reader = None;
                    return Err(self.unreadable(&cause));
                }
            }
        }
        Ok(None)
    }

    /// A column as strings: numbers and booleans as JSON spells them.
    fn strings(&self, column: &ArrayRef) -> Result<LargeStringArray> {
        arrow_cast::cast(column, &DataType::LargeUtf8)
            .map(|strings| strings.as_string::<i64>().clone())
            .map_err(|cause| self.unreadable(&cause))
    }

    fn error(&self, row: usize, reason: String) -> Error {
        Error::Row { path: self.path.clone(), row: row + 1, reason }
    }

    /// Why the next rows cannot be read: the first text that is no UTF-8 if there
    /// is one, else whatever the library says.
    fn unreadable(&self, cause: &dyn fmt::Display) -> Error {
        match guarded(|| find_not_utf8(&self.path)) {
            Ok(Some((row, column, byte))) => {
                self.error(row, format!("the column {column:?}: {}", not_utf8(byte)))
            }
            _ => self.error(self.row, format!("it cannot be read, the file is damaged: {cause}")),
        }
    }
}

/// As many rows as make a chunk of the largest size, and at most [`BATCH`].
fn batch_size(metadata: &ParquetMetaData) -> usize {
    let longest = metadata
        .row_groups()
        .iter()
        .map(|group| group.total_byte_size().max(0) / group.num_rows().max(1))
        .max();
    let bytes = longest.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    (LARGEST_CHUNK / bytes.max(1)).clamp(1, BATCH)
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn is_label(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_label(values),
        other => is_text(other) || other.is_integer() || *other == DataType::Boolean,
    }
}
