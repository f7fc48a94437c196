//! Errors of damaged Parquet files.

use std::{
    cell::Cell,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use parquet::{
    basic::ConvertedType,
    column::reader::ColumnReader,
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
};

/// Values that are looked at at a time.
const BATCH: usize = 1024;

thread_local! {
    static CATCHES_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// Returns true while this thread decodes Parquet: a panic then becomes an error, and a panic
/// hook should not print it.
pub fn catches_panics() -> bool {
    CATCHES_PANICS.get()
}

/// Calls the library, which trusts some numbers of a damaged page and panics where they
/// make no sense. A panic becomes an error.
pub(crate) fn guarded<T>(
    read: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, ParquetError> {
    let outer = CATCHES_PANICS.replace(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    CATCHES_PANICS.set(outer);
    read.unwrap_or_else(|_| Err(ParquetError::General("a page makes no sense".to_owned())))
}

/// The first row, from 0, that has bytes which are no UTF-8 in a column of
/// strings, with the column and the byte.
pub(crate) fn find_not_utf8(path: &Path) -> Result<Option<(usize, String, u8)>, ParquetError> {
    let file = SerializedFileReader::new(File::open(path)?)?;
    let schema = file.metadata().file_metadata().schema_descr_ptr();
    let mut begin = 0;
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group)?;
        let mut found: Option<(usize, String, u8)> = None;
        for (place, column) in schema.columns().iter().enumerate() {
            let is_string = column.converted_type() == ConvertedType::UTF8;
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
