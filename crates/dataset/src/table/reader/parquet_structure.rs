//! Counts in the structures of Parquet. polars allocates memory for them before it reads what they
//! count, and the process aborts if a damaged file claims too many.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    ops::Range,
};

use polars::prelude::FileMetadata;
use polars_parquet_format::{FileMetaData, PageHeader, thrift::protocol::TCompactInputProtocol};

/// Length of the footer and `PAR1`, in bytes at the end of a file.
const END: u64 = 8;
/// Upper bound of what [`TCompactInputProtocol`] counts per byte of a valid footer.
const COUNTED_PER_BYTE: usize = 16;

/// Longest page header in bytes. Statistics are its only large part.
const LONGEST_HEADER: usize = 1 << 20;

/// Checks that the footer has as many elements as its lists claim.
pub(super) fn check_footer(file: &File) -> io::Result<()> {
    let mut file = BufReader::new(file);
    let end = file.seek(SeekFrom::End(0))?;
    let mut length = [0; 4];
    file.seek(SeekFrom::Start(end.saturating_sub(END)))?;
    file.read_exact(&mut length)?;
    let length = u64::from(u32::from_le_bytes(length));
    // polars itself refuses a footer that is longer than the file.
    let Some(start) = end.checked_sub(END + length) else { return Ok(()) };
    file.seek(SeekFrom::Start(start))?;
    let counted = (length as usize).saturating_mul(COUNTED_PER_BYTE);
    let mut protocol = TCompactInputProtocol::new(file.take(length), counted);
    // polars reads each field as the type that its number has, whatever type the file states, and so
    // does this.
    FileMetaData::read_from_in_protocol(&mut protocol).map(drop).map_err(io::Error::other)
}

/// Checks the number of values that the pages of some columns claim, in some row groups.
pub(super) fn check_pages(
    file: &File,
    metadata: &FileMetadata,
    groups: Range<usize>,
    columns: &[String],
) -> Result<(), String> {
    let mut file = BufReader::new(file);
    for chunk in metadata.row_groups[groups].iter().flat_map(|group| group.parquet_columns()) {
        let name = chunk.descriptor().path_in_schema.first();
        let Some(name) = columns.iter().find(|&column| name.is_some_and(|name| name == column))
        else {
            continue;
        };
        let damaged = |problem: &dyn std::fmt::Display| {
            format!("the column {name:?} has a damaged page header: {problem}")
        };
        let range = chunk.byte_range();
        file.seek(SeekFrom::Start(range.start)).map_err(|error| damaged(&error))?;
        let mut left = chunk.num_values();
        while left > 0 && file.stream_position().map_err(|error| damaged(&error))? < range.end {
            let mut protocol = TCompactInputProtocol::new(&mut file, LONGEST_HEADER);
            let header = PageHeader::read_from_in_protocol(&mut protocol);
            let header = header.map_err(|error| damaged(&error))?;
            let dictionary = header.dictionary_page_header.as_ref().map_or(0, |it| it.num_values);
            let data = header.data_page_header.as_ref().map(|it| it.num_values);
            let data = data.or(header.data_page_header_v2.as_ref().map(|it| it.num_values));
            let data = i64::from(data.unwrap_or(0));
            // Each entry of a dictionary takes at least a byte.
            let dictionaries = 0..=header.uncompressed_page_size;
            if !dictionaries.contains(&dictionary) || !(0..=left).contains(&data) {
                return Err(damaged(&"impossible number of values"));
            }
            left -= data;
            let size = i64::from(header.compressed_page_size);
            file.seek_relative(size.max(0)).map_err(|error| damaged(&error))?;
        }
    }
    Ok(())
}
