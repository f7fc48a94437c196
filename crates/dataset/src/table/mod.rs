//! Tables of any size, row by row: TSV, CSV, JSON Lines and Parquet.
//!
//! [`TableReader`] reads a table in [`Chunk`]s and [`TableWriter`] writes them again with
//! columns added, in the same format or another. Neither keeps more than one chunk: memory
//! does not grow with the table.

mod chunk;
pub(crate) mod columns;
mod format;
mod reader;
mod records;
mod writer;

pub use chunk::Chunk;
pub use columns::{ColumnError, ColumnRole, Columns};
pub use format::Format;
pub use reader::{LONGEST_LINE, Lines, TableReader, catches_panics};
pub(crate) use reader::{NUL, label_text_problem, not_utf8, too_long};
pub use writer::{Added, TableWriter};

/// A chunk ends after the row that makes it this large, in bytes.
const LARGEST_CHUNK: usize = 8 << 20;
