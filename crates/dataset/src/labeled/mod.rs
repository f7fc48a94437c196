//! Labeled text: its files, how they are read, and the examples in memory.

mod duplicates;
mod empty_text;
mod example;
mod files;
mod label;
mod quotes;
mod row_counts;
mod source_files;
mod table_rows;
mod text;

pub use duplicates::Duplicates;
pub use empty_text::is_empty_text;
pub use example::Example;
pub use files::LabeledFiles;
pub(crate) use files::LabeledSources;
pub use label::{LabelIndex, normalize_label};
pub use quotes::Quotes;
pub use row_counts::RowCounts;
pub use source_files::{SourceFile, SourceFiles, locate};
pub use text::LabeledText;
pub(crate) use text::Sets;
