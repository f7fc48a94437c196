//! Parquet, read slice by slice.

use std::{
    fs::File,
    io::Cursor,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use polars::prelude::{
    DataFrame, DataType, FileMetadata, FileMetadataRef, ParallelStrategy, ParquetReader,
    ParquetWriter, PolarsError, PolarsResult, SerReader,
};

use super::{
    input::Input,
    parquet_structure::{check_footer, check_pages},
};
use crate::{
    error::{Error, Result},
    guard::guarded,
    table::{
        chunk::{Metadata, PassedOn, Records, Rows},
        columns::{Columns, Places, Wanted},
        shard::Shard,
    },
};

/// Rows that are decoded at a time. polars decodes the page in which a slice begins anew for
/// every slice: with smaller slices a file with few pages takes many times as long.
const SLICE: usize = 32 << 10;

/// Most bytes of a slice, after what the file says of its row groups.
const SLICE_BYTES: usize = 16 << 20;

/// Key of a copy of the schema, which the writer of the file made and [`ParquetOut`] makes anew.
///
/// [`ParquetOut`]: crate::table::writer::parquet::ParquetOut
pub(crate) const ARROW_SCHEMA: &str = "ARROW:schema";

/// Reader of a Parquet file.
pub(crate) struct Parquet {
    file: File,
    metadata: FileMetadataRef,
    /// Names of all columns of the file.
    names: Arc<[String]>,
    places: Places,
    /// Columns that are read, in their order, and their names.
    columns: Vec<usize>,
    selected: Arc<[String]>,
    path: PathBuf,
    slice: usize,
    /// Row groups that are read.
    groups: Range<usize>,
    /// Row behind the last one that is read.
    end: usize,
    /// True once these columns are known to be readable.
    checked: bool,
    /// Key-value metadata, and the columns whose type Parquet written by polars does not keep.
    passed_on: Metadata,
    /// Rows decoded so far.
    read: usize,
    /// Decoded rows that were not asked for yet.
    pending: DataFrame,
    /// Rows returned so far.
    row: usize,
}

impl Parquet {
    pub fn open(input: Input, columns: &Columns, wanted: Wanted) -> Result<Self> {
        let path = input.name.clone();
        let file = input.into_file()?;
        let metadata = read_metadata(&file, &path)?;
        let fields = metadata.schema_descr.fields();
        let names: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
        let places = columns.places(&names, wanted).map_err(|problem| Error::Columns {
            path: path.clone(),
            line: None,
            problem,
        })?;
        let needed = needed(places);
        let names: Arc<[String]> = names.into();
        let reader = Self {
            file,
            slice: slice_rows(&metadata),
            groups: 0..metadata.row_groups.len(),
            end: metadata.num_rows,
            passed_on: Arc::new(PassedOn { pairs: key_values(&metadata), retyped: Vec::new() }),
            metadata,
            columns: (0..names.len()).collect(),
            selected: Arc::clone(&names),
            names,
            places,
            path: path.clone(),
            checked: false,
            read: 0,
            pending: DataFrame::empty(),
            row: 0,
        };
        let frame = reader.no_rows_of(&needed)?;
        reader.check_types(&frame)?;
        Ok(reader)
    }

    /// Reads only the columns of text and label.
    pub fn select_text_and_label(&mut self) {
        self.columns = needed(self.places);
        self.selected = self.columns.iter().map(|place| self.names[*place].clone()).collect();
    }

    /// Reads only the rows of some row groups. Returns the number of rows before them.
    pub fn select_row_groups(&mut self, groups: Range<usize>) -> Result<usize> {
        let counts = row_counts_of(&self.metadata);
        let (Some(before), Some(selected)) =
            (counts.get(..groups.start), counts.get(groups.clone()))
        else {
            let problem = format!("it has {} row groups, expected {}", counts.len(), groups.end);
            return Err(Shard::changed(&self.path, &problem));
        };
        let first = sum(before);
        (self.read, self.row, self.end) = (first, first, first.saturating_add(sum(selected)));
        self.groups = groups;
        Ok(first)
    }

    /// Refuses columns that cannot be text or label.
    fn check_types(&self, frame: &DataFrame) -> Result<()> {
        let check = |place: usize, fits: fn(&DataType) -> bool, expected: &str| {
            let name = &self.names[place];
            let column = frame.column(name).map_err(|cause| self.table(cause.to_string()))?;
            let dtype = column.dtype();
            let reason = format!("the column {name:?} is of the type {dtype}; {expected}");
            if fits(dtype) { Ok(()) } else { Err(self.table(reason)) }
        };
        let Some(text) = self.places.text else { return Ok(()) };
        check(text, is_text, "a text must be a string")?;
        let is_label = |dtype: &DataType| {
            is_text(dtype) || dtype.is_integer() || dtype.is_float() || dtype.is_bool()
        };
        match self.places.label {
            Some(label) => {
                check(label, is_label, "a label must be a string, a number or a boolean")
            }
            None => Ok(()),
        }
    }

    /// Returns columns without rows.
    fn no_rows_of(&self, columns: &[usize]) -> Result<DataFrame> {
        self.decode(0, 0, columns).map_err(|cause| {
            let fails = |column: &&usize| self.decode(0, 0, &[**column]).is_err();
            match columns.iter().find(fails) {
                Some(&column) => {
                    let name = &self.names[column];
                    self.unsupported(name, &self.parquet_type(name))
                }
                None => {
                    let problem = "it cannot be read as Parquet and may be damaged";
                    self.table(format!("{problem}: {cause}"))
                }
            }
        })
    }

    /// Returns the error of a column whose type polars does not read.
    fn unsupported(&self, name: &str, kind: &str) -> Error {
        self.table(format!(
            "the column {name:?} is of the Parquet type {kind}, which is not supported; leave it \
             out of the file, or convert it, for example to a string"
        ))
    }

    /// Returns the type of a column as the file spells it.
    fn parquet_type(&self, name: &str) -> String {
        let leaves = self.metadata.schema_descr.columns().iter();
        let leaves = leaves.filter(|leaf| leaf.path_in_schema.first().is_some_and(|it| it == name));
        let types: Vec<String> = leaves
            .map(|leaf| {
                let leaf = &leaf.descriptor.primitive_type;
                match (&leaf.logical_type, &leaf.converted_type) {
                    (Some(logical), _) => format!("{logical:?}"),
                    (None, Some(converted)) => format!("{converted:?}"),
                    (None, None) => format!("{:?}", leaf.physical_type),
                }
            })
            .collect();
        types.join(", ")
    }

    /// Checks once that the columns can be read, and notes those whose type is not kept.
    fn check_columns(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.checked, true) {
            return Ok(());
        }
        check_pages(&self.file, &self.metadata, self.groups.clone(), &self.selected)
            .map_err(|problem| self.table(format!("{problem}; write the file again")))?;
        self.pending = self.no_rows_of(&self.columns)?;
        let mut columns = self.pending.columns().iter();
        if let Some(column) = columns.find(|column| is_foreign(column.dtype())) {
            return Err(self.unsupported(column.name(), &column.dtype().to_string()));
        }
        let retyped = self.retyped().map_err(|cause| self.table(cause.to_string()))?;
        self.passed_on = Arc::new(PassedOn { pairs: key_values(&self.metadata), retyped });
        Ok(())
    }

    /// Returns the columns whose type changes if polars writes them as Parquet.
    fn retyped(&self) -> PolarsResult<Vec<String>> {
        let (mut file, mut frame) = (Vec::new(), self.pending.clear());
        guarded(|| ParquetWriter::new(&mut file).finish(&mut frame))?;
        let written =
            guarded(|| ParquetReader::new(Cursor::new(file)).get_metadata().map(Arc::clone))?;
        let leaves = |metadata: &FileMetadata, name: &String| {
            let leaves = metadata.schema_descr.columns().iter();
            let of_column =
                leaves.filter(|leaf| leaf.path_in_schema.first().is_some_and(|it| it == name));
            of_column
                .map(|leaf| {
                    let kind = leaf.descriptor.primitive_type.clone();
                    (leaf.path_in_schema.len(), kind.logical_type, kind.physical_type)
                })
                .collect::<Vec<_>>()
        };
        let changes = |name: &&String| {
            let (before, after) = (leaves(&self.metadata, name), leaves(&written, name));
            let is_kept = before.iter().zip(&after).all(|(before, after)| {
                // Decimals have several physical types.
                before.0 == after.0
                    && if before.1.is_some() { before.1 == after.1 } else { before.2 == after.2 }
            });
            before.len() != after.len() || !is_kept
        };
        Ok(self.selected.iter().filter(changes).cloned().collect())
    }

    /// Returns the names of all columns of the file.
    pub fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    /// Returns the names of the columns that are read.
    pub fn selected(&self) -> &Arc<[String]> {
        &self.selected
    }

    pub fn describe(&self) -> String {
        format!("Parquet, {} rows, {} columns", self.metadata.num_rows, self.names.len())
    }

    /// Returns what else of the file is written again.
    pub fn passed_on(&self) -> Metadata {
        Arc::clone(&self.passed_on)
    }

    pub fn no_rows(&mut self) -> Result<Records> {
        self.check_columns()?;
        Ok(Records::Frame(self.pending.clear()))
    }

    /// Returns the next rows, at most `most`.
    pub fn next_rows(&mut self, most: usize) -> Result<Option<Rows>> {
        self.check_columns()?;
        if self.pending.height() == 0 {
            let count = self.slice.min(self.end - self.read);
            if count == 0 {
                return Ok(None);
            }
            let frame = self
                .decode(self.read, count, &self.columns)
                .map_err(|cause| self.damaged(count, &cause))?;
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
        let damaged = |cause: PolarsError| self.error(self.row, cause.to_string());
        let strings = |place: usize| {
            let column = frame.column(&self.names[place]);
            column.and_then(|column| column.cast(&DataType::String)).map_err(damaged)
        };
        let Some(text) = self.places.text else {
            rows.push_records(frame.height());
            return Ok(());
        };
        let texts = strings(text)?;
        let labels = self.places.label.map(strings).transpose()?;
        let labels = labels.as_ref().map(|labels| labels.str().map_err(damaged)).transpose()?;
        let is_float = self.places.label.is_some_and(|place| {
            frame.column(&self.names[place]).is_ok_and(|column| column.dtype().is_float())
        });
        for (index, text) in texts.str().map_err(damaged)?.iter().enumerate() {
            let text = text.unwrap_or_default();
            // pandas marks a missing label of a column of numbers as NaN.
            let label = labels.and_then(|labels| labels.get(index));
            let label = label.filter(|label| !is_float || *label != "NaN");
            rows.push(text, label).map_err(|problem| self.error(self.row + index, problem))?;
        }
        Ok(())
    }

    /// Decodes `count` rows of columns from row `first`.
    fn decode(&self, first: usize, count: usize, columns: &[usize]) -> PolarsResult<DataFrame> {
        guarded(|| {
            let mut reader = ParquetReader::new(self.file.try_clone()?)
                .with_slice(Some((first, count)))
                .with_projection(Some(columns.to_vec()))
                .read_parallel(ParallelStrategy::None);
            reader.set_metadata(Arc::clone(&self.metadata));
            reader.finish()
        })
    }

    /// Returns the error of rows that cannot be decoded: with the first row of the damaged page,
    /// and its column.
    fn damaged(&self, count: usize, cause: &PolarsError) -> Error {
        // The longest beginning and the longest end that are intact.
        let before = longest(count, |rows| self.decode(self.read, rows, &self.columns).is_ok());
        let end = self.read + count;
        let behind =
            longest(count - before, |rows| self.decode(end - rows, rows, &self.columns).is_ok());
        let (row, more) = (self.read + before, (count - before - behind).saturating_sub(1));
        let fails = |column: &&usize| self.decode(row, more + 1, &[**column]).is_err();
        let column = self.columns.iter().find(fails);
        let column =
            column.map_or("it".to_owned(), |at| format!("the column {:?}", self.names[*at]));
        let place = match more {
            0 => String::new(),
            1 => " here or in the next row".to_owned(),
            _ => format!(" here or in the next {more} rows"),
        };
        self.error(row, format!("{column} cannot be decoded{place}, the file is damaged: {cause}"))
    }

    fn table(&self, reason: String) -> Error {
        Error::Table { path: self.path.clone(), reason }
    }

    fn error(&self, row: usize, reason: String) -> Error {
        Error::Row { path: self.path.clone(), row: row + 1, reason }
    }
}

fn read_metadata(file: &File, path: &Path) -> Result<FileMetadataRef> {
    let read = || {
        check_footer(file)?;
        ParquetReader::new(file.try_clone()?).get_metadata().map(Arc::clone)
    };
    guarded(read).map_err(|cause| Error::Table {
        path: path.to_owned(),
        reason: format!("it cannot be read as Parquet and may be damaged: {cause}"),
    })
}

/// Returns the number of rows of each row group of a Parquet file.
pub(crate) fn row_counts(input: Input) -> Result<Vec<usize>> {
    let path = input.name.clone();
    let metadata = read_metadata(&input.into_file()?, &path)?;
    let counts = row_counts_of(&metadata);
    if sum(&counts) == metadata.num_rows {
        return Ok(counts);
    }
    let reason = "its row groups do not have as many rows as the file, it is damaged".to_owned();
    Err(Error::Table { path, reason })
}

fn row_counts_of(metadata: &FileMetadata) -> Vec<usize> {
    metadata.row_groups.iter().map(|group| group.num_rows()).collect()
}

/// Adds numbers of rows, which a damaged file may have too large.
fn sum(counts: &[usize]) -> usize {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

/// Returns whether polars knows the type but does not decode its values: float16, and decimals
/// of more than 38 digits, alone or within others.
fn is_foreign(dtype: &DataType) -> bool {
    match dtype {
        DataType::Float16 => true,
        DataType::Decimal(digits, _) => *digits > 38,
        DataType::List(inner) | DataType::Array(inner, _) => is_foreign(inner),
        DataType::Struct(fields) => fields.iter().any(|field| is_foreign(field.dtype())),
        _ => false,
    }
}

/// Returns the columns of text and label.
fn needed(places: Places) -> Vec<usize> {
    let mut needed: Vec<usize> = places.label.into_iter().chain(places.text).collect();
    needed.sort_unstable();
    needed
}

/// Returns the key-value metadata, without the copy of the schema.
fn key_values(metadata: &FileMetadata) -> Vec<(String, String)> {
    let pairs = metadata.key_value_metadata.iter().flatten();
    let kept = pairs.filter(|pair| pair.key != ARROW_SCHEMA);
    kept.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect()
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
