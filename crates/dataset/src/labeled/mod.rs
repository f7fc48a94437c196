//! Labeled text: its files, how they are read, and the examples in memory.

mod example;
mod files;
mod headerless_tsv;
mod quotes;
mod row_counts;
mod table_rows;
mod text;

pub use example::Example;
pub use files::LabeledFiles;
pub use quotes::Quotes;
pub use row_counts::RowCounts;
pub use text::LabeledText;
pub(crate) use text::Sets;
