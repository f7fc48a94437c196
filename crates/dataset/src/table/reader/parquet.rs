//! Parquet, read slice by slice.

use std::{fs::File, path::PathBuf, sync::Arc};

use polars::prelude::{
    Column, DataFrame, DataType, FileMetadata, FileMetadataRef, ParallelStrategy, ParquetReader,
    PolarsError, PolarsResult, SerReader,
};

use super::{guard::guarded, input::Input, lines::NUL};
use crate::{
    error::{Error, Result},
    table::{
        chunk::{Metadata, Records, Rows},
        columns::{Columns, Places},
    },
};

/// Rows that are decoded at a time. polars decodes the page in which a slice begins anew for
/// every slice: with smaller slices a file with few pages takes many times as long.
const SLICE: usize = 32 << 10;

/// Most bytes of a slice, after what the file says of its row groups.
const SLICE_BYTES: usize = 16 << 20;

/// Key of a copy of the schema, which the writer of the file made and polars makes anew.
const ARROW_SCHEMA: &str = "ARROW:schema";

/// Reader of a Parquet file.
pub(crate) struct Parquet {
    file: File,
    metadata: FileMetadataRef,
    names: Arc<[String]>,
    places: Places,
    path: PathBuf,
    slice: usize,
    /// Rows decoded so far.
    read: usize,
    /// Decoded rows that were not asked for yet.
    pending: DataFrame,
    /// Rows returned so far.
    row: usize,
}

impl Parquet {
    pub fn open(input: Input, columns: &Columns, wants_label: bool) -> Result<Self> {
        let path = input.name.clone();
        let file = input.into_file()?;
        let table = |reason: String| Error::Table { path: path.clone(), reason };
        let damaged = |cause: PolarsError| {
            table(format!("it cannot be read as Parquet and may be damaged: {cause}"))
        };
        let metadata =
            guarded(|| ParquetReader::new(file.try_clone()?).get_metadata().map(Arc::clone))
                .map_err(damaged)?;
        let fields = metadata.schema_descr.fields();
        let names: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
        let places = columns.places(&names, wants_label).map_err(|problem| Error::Columns {
            path: path.clone(),
            line: None,
            problem,
        })?;
        let mut reader = Self {
            file,
            slice: slice_rows(&metadata),
            metadata,
            names: names.into(),
            places,
            path: path.clone(),
            read: 0,
            pending: DataFrame::empty(),
            row: 0,
        };
        reader.pending = reader.decode(0, 0, None).map_err(damaged)?;
        reader.check_types()?;
        Ok(reader)
    }

    /// Refuses columns that cannot be text or label.
    fn check_types(&self) -> Result<()> {
        let check = |place: usize, fits: bool, expected: &str| {
            let (name, dtype) = (&self.names[place], self.dtype(place));
            let reason = format!("the column {name:?} is of the type {dtype}; {expected}");
            if fits { Ok(()) } else { Err(Error::Table { path: self.path.clone(), reason }) }
        };
        let text = self.places.text;
        check(text, is_text(self.dtype(text)), "a text must be a string")?;
        let Some(label) = self.places.label else { return Ok(()) };
        let dtype = self.dtype(label);
        let fits = is_text(dtype) || dtype.is_integer() || dtype.is_float() || dtype.is_bool();
        check(label, fits, "a label must be a string, a number or a boolean")
    }

    fn dtype(&self, place: usize) -> &DataType {
        self.pending.columns()[place].dtype()
    }

    pub fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    pub fn describe(&self) -> String {
        format!("Parquet, {} rows, {} columns", self.metadata.num_rows, self.names.len())
    }

    /// Returns the key-value metadata, without the copy of the schema.
    pub fn key_values(&self) -> Metadata {
        let pairs = self.metadata.key_value_metadata.iter().flatten();
        let kept = pairs.filter(|pair| pair.key != ARROW_SCHEMA);
        Arc::new(kept.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect())
    }

    pub fn no_rows(&self) -> Records {
        Records::Frame(self.pending.clear())
    }

    /// Returns the next rows, at most `most`.
    pub fn next_rows(&mut self, most: usize) -> Result<Option<Rows>> {
        if self.pending.height() == 0 {
            let count = self.slice.min(self.metadata.num_rows - self.read);
            if count == 0 {
                return Ok(None);
            }
            let frame =
                self.decode(self.read, count, None).map_err(|cause| self.damaged(count, &cause))?;
            if frame.height() != count {
                let height = frame.height();
                let reason = format!("{height} rows were decoded of {count}, the file is damaged");
                return Err(self.error(self.read, reason));
            }
            (self.pending, self.read) = (frame, self.read + count);
        }
        let count = most.min(self.pending.height());
        let frame = self.pending.slice(0, count);
        self.pending = self.pending.slice(count as i64, usize::MAX);
        let mut rows = Rows::default();
        self.fill(&frame, &mut rows)?;
        self.row += count;
        rows.records = Records::Frame(frame);
        Ok(Some(rows))
    }

    /// Copies texts and labels out of a data frame.
    fn fill(&self, frame: &DataFrame, rows: &mut Rows) -> Result<()> {
        let strings = |place: usize| {
            let column: &Column = &frame.columns()[place];
            column.cast(&DataType::String).map_err(|cause| self.error(self.row, cause.to_string()))
        };
        let damaged = |cause: PolarsError| self.error(self.row, cause.to_string());
        let texts = strings(self.places.text)?;
        let labels = self.places.label.map(strings).transpose()?;
        let labels = labels.as_ref().map(|labels| labels.str().map_err(damaged)).transpose()?;
        let is_float = self.places.label.is_some_and(|place| self.dtype(place).is_float());
        for (index, text) in texts.str().map_err(damaged)?.iter().enumerate() {
            let text = text.unwrap_or_default();
            if text.contains('\0') {
                return Err(self.error(self.row + index, NUL.to_owned()));
            }
            // pandas marks a missing label of a column of numbers as NaN.
            let label = labels.and_then(|labels| labels.get(index));
            let label = label.filter(|label| !is_float || *label != "NaN");
            rows.push(text, label);
        }
        Ok(())
    }

    /// Decodes `count` rows from row `first` of all columns, or of one.
    fn decode(&self, first: usize, count: usize, column: Option<usize>) -> PolarsResult<DataFrame> {
        guarded(|| {
            let mut reader = ParquetReader::new(self.file.try_clone()?)
                .with_slice(Some((first, count)))
                .with_projection(column.map(|column| vec![column]))
                .read_parallel(ParallelStrategy::None);
            reader.set_metadata(Arc::clone(&self.metadata));
            reader.finish()
        })
    }

    /// Returns the error of rows that cannot be decoded: with the first row of the damaged page,
    /// and its column.
    fn damaged(&self, count: usize, cause: &PolarsError) -> Error {
        // The longest beginning and the longest end that are intact.
        let before = longest(count, |rows| self.decode(self.read, rows, None).is_ok());
        let end = self.read + count;
        let behind = longest(count - before, |rows| self.decode(end - rows, rows, None).is_ok());
        let (row, more) = (self.read + before, (count - before - behind).saturating_sub(1));
        let fails = |column: &usize| self.decode(row, more + 1, Some(*column)).is_err();
        let column = (0..self.names.len()).find(fails);
        let column =
            column.map_or("it".to_owned(), |at| format!("the column {:?}", self.names[at]));
        let place = match more {
            0 => String::new(),
            1 => " here or in the next row".to_owned(),
            _ => format!(" here or in the next {more} rows"),
        };
        self.error(row, format!("{column} cannot be decoded{place}, the file is damaged: {cause}"))
    }

    fn error(&self, row: usize, reason: String) -> Error {
        Error::Row { path: self.path.clone(), row: row + 1, reason }
    }
}

/// Returns the largest number below `count` that is `intact`, if smaller ones are too.
fn longest(count: usize, intact: impl Fn(usize) -> bool) -> usize {
    let (mut most, mut broken) = (0, count);
    while broken - most > 1 {
        let middle = usize::midpoint(most, broken);
        if intact(middle) {
            most = middle;
        } else {
            broken = middle;
        }
    }
    most
}

/// Returns the rows of a slice, fewer where they are long.
fn slice_rows(metadata: &FileMetadata) -> usize {
    let groups = metadata.row_groups.iter();
    let longest = groups.map(|group| group.total_byte_size() / group.num_rows().max(1)).max();
    (SLICE_BYTES / longest.unwrap_or(1).max(1)).clamp(1, SLICE)
}

fn is_text(dtype: &DataType) -> bool {
    matches!(
        dtype,
        DataType::String | DataType::Null | DataType::Categorical(..) | DataType::Enum(..)
    )
}
