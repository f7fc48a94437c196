//! Parquet, page by page.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use arrow_array::{Array, ArrayRef, LargeStringArray, RecordBatch, cast::AsArray};
use arrow_schema::{ArrowError, DataType};
use parquet::{
    arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    column::reader::ColumnReader,
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
};

use super::{
    cells::NUL,
    chunk::Columned,
    columns::{Columns, Places, twice},
    lines::not_utf8,
    records::Records,
};
use crate::error::{Error, Result};

/// Rows that are decoded at a time. A row group, which may be as large as the
/// file, is not read as a whole.
const BATCH: usize = 1024;

/// A Parquet file that is being read.
pub(crate) struct Parquet {
    reader: ParquetRecordBatchReader,
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
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
        let schema = builder.schema().clone();
        let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
        if let Some(name) = twice(&names) {
            return Err(table(format!("it has the column {name:?} twice; rename one")));
        }
        let places = columns.places(&names, wants_label).map_err(table)?;
        let kind = |place: usize| schema.field(place).data_type();
        if !is_text(kind(places.text)) {
            return Err(table(format!(
                "the column {:?} is of the type {}; a text has to be a string",
                names[places.text],
                kind(places.text)
            )));
        }
        if let Some(place) = places.label.filter(|&place| !is_label(kind(place))) {
            return Err(table(format!(
                "the column {:?} is of the type {}; a label has to be a string, a whole number or \
                 a boolean",
                names[place],
                kind(place)
            )));
        }
        let reader = builder.with_batch_size(BATCH).build().map_err(damaged)?;
        let empty = RecordBatch::new_empty(schema.clone());
        Ok(Self { reader, places, path: path.to_owned(), pending: None, row: 0, empty })
    }

    pub fn no_rows(&self) -> Records {
        Records::Batch(self.empty.clone())
    }

    /// The next rows, at most `most`.
    pub fn next_chunk(&mut self, most: usize) -> Result<Option<Columned>> {
        let batch = loop {
            let batch = match self.pending.take() {
                Some(batch) => Ok(batch),
                None => match self.reader.next() {
                    Some(batch) => batch,
                    None => return Ok(None),
                },
            };
            match batch.map_err(|cause| self.unreadable(&cause))? {
                empty if empty.num_rows() == 0 => continue,
                batch => break batch,
            }
        };
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
    fn unreadable(&self, cause: &ArrowError) -> Error {
        match find_not_utf8(&self.path) {
            Ok(Some((row, column, byte))) => {
                self.error(row, format!("the column {column:?}: {}", not_utf8(byte)))
            }
            _ => self.error(self.row, format!("it cannot be read, the file is damaged: {cause}")),
        }
    }
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

/// The first row, from 0, that has bytes which are no UTF-8 in a column of
/// strings, with the column and the byte.
fn find_not_utf8(path: &Path) -> Result<Option<(usize, String, u8)>, ParquetError> {
    let file = SerializedFileReader::new(File::open(path)?)?;
    let schema = file.metadata().file_metadata().schema_descr_ptr();
    let mut begin = 0;
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group)?;
        let mut found: Option<(usize, String, u8)> = None;
        for (place, column) in schema.columns().iter().enumerate() {
            let is_string = column.converted_type() == parquet::basic::ConvertedType::UTF8;
            if !is_string || column.max_rep_level() > 0 {
                continue;
            }
            let ColumnReader::ByteArrayColumnReader(mut reader) = group.get_column_reader(place)?
            else {
                continue;
            };
            let mut row = begin;
            loop {
                let (mut values, mut levels) = (Vec::new(), Vec::new());
                let (read, ..) =
                    reader.read_records(BATCH, Some(&mut levels), None, &mut values)?;
                if read == 0 {
                    break;
                }
                // Without levels every row has a value.
                let has_value =
                    |row: &usize| levels.get(*row).is_none_or(|&l| l == column.max_def_level());
                for (at, value) in (0..read).filter(has_value).zip(&values) {
                    let Err(error) = str::from_utf8(value.data()) else { continue };
                    let here = row + at;
                    if found.as_ref().is_none_or(|(first, ..)| here < *first) {
                        let byte = value.data()[error.valid_up_to()];
                        found = Some((here, column.name().to_owned(), byte));
                    }
                    break;
                }
                row += read;
            }
        }
        if found.is_some() {
            return Ok(found);
        }
        begin += usize::try_from(group.metadata().num_rows()).unwrap_or(0);
    }
    Ok(None)
}
