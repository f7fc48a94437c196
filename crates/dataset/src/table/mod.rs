//! Tables of any size, row by row: TSV, CSV, JSON Lines and Parquet.
//!
//! [`TableReader`] gives a table in [`Chunk`]s and [`TableWriter`] puts them out
//! again with columns added, in the same format or another. Neither keeps more
//! than one chunk: memory does not grow with the table.

mod cells;
mod chunk;
mod columns;
mod csv;
mod damage;
mod format;
mod jsonl;
mod lines;
mod parquet;
mod reader;
mod records;
mod rows;
mod to_parquet;
mod to_text;
mod writer;

pub(crate) use self::{
    cells::NUL,
    lines::{not_utf8, too_long},
};
pub use chunk::Chunk;
pub use columns::Columns;
pub(crate) use columns::list;
pub use format::Format;
pub use lines::Lines;
pub use reader::TableReader;
pub use writer::{Added, TableWriter};

/// The longest line or CSV record, in bytes (16 MiB): a longer one is refused, not
/// kept in memory.
pub const LONGEST_LINE: usize = 16 << 20;

/// A chunk ends after the row that makes it this large, in bytes.
const LARGEST_CHUNK: usize = 8 << 20;
