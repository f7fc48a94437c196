//! Tables of any size, row by row: CSV, TSV, JSON and Parquet.
//!
//! [`TableReader`] reads a table in [`Chunk`]s and [`TableWriter`] writes them again with
//! columns added, in the same format or another. Neither keeps more than a few chunks: memory
//! does not grow with the table. [`ShardedFile`] divides a table among processes. polars parses, decodes and writes; what it would accept
//! although it is damaged, or report without a line, is checked before.

mod chunk;
pub(crate) mod columns;
pub(crate) mod error;
mod format;
mod json;
mod options;
mod reader;
mod shard;
mod writer;

pub use chunk::Chunk;
pub(crate) use chunk::Records;
pub(crate) use columns::Wanted;
pub use columns::{ColumnError, ColumnRole, Columns};
pub use error::{TableOptionError, TableWriterError};
pub use format::Format;
pub(crate) use json::Object;
pub use options::{Encoding, QuoteChar, Separator, TableOptions};
pub(crate) use reader::source::Source;
pub use reader::{LONGEST_LINE, Lines, TableReader, expand};
pub use shard::{Shard, ShardedFile};
pub(crate) use writer::spelling::{json_lines, plain};
pub use writer::{Added, TableWriter};

/// A chunk ends after the row that makes it this large, in bytes.
const LARGEST_CHUNK: usize = 8 << 20;
