//! Labeled text into balanced splits and tokenized batches, for classifiers on
//! top of GPT-2; plain text into windows of tokens, for language models.
//!
//! The crate has neither models nor tensors and does not need libtorch: a [`Batch`] holds
//! plain vectors.
//!
//! # Main types
//!
//! | Type or function | Purpose |
//! |---|---|
//! | [`LabeledText`] | Examples from a table (TSV, CSV, JSON or Parquet) or from memory |
//! | [`Split`], [`SplitConfig`] | Training, validation and test set: balanced, shuffled and split like pandas |
//! | [`PreparedSplit`], [`LabeledFiles`] | Sets kept as CSV files that later runs reuse, or read from separate files |
//! | [`Tokenizer`], [`TokenizedSplit`], [`TokenizedSet`] | GPT-2's byte-pair encoding, or the tokenizer of another model; the token ids of each set |
//! | [`DataLoader`], [`Batch`], [`TorchRng`] | Batches in the order of PyTorch's `DataLoader` with the same seed |
//! | [`Corpus`], [`TrainWindows`], [`stream_windows`] | Plain text as streams of tokens, divided into batches |
//! | [`TableReader`], [`TableWriter`], [`TableOptions`] | Tables of any size in chunks, copied with added columns in constant memory |
//! | [`ShardedFile`], [`Shard`] | Division of a table among processes |
//! | [`Error`] | Unusable file or setting, with file and line |
//!
//! # Example
//!
//! ```
//! use dataset::{DataLoader, LabeledText, Padding, SplitConfig, Tokenizer, TorchRng};
//!
//! # let directory = tempfile::tempdir()?;
//! # std::env::set_current_dir(&directory)?;
//! let texts = ["see you at 6", "WIN a FREE prize now", "ok", "call 0800 to claim"];
//! let row = |row: usize| format!("{},{}\n", 1 + row % 2, texts[row % 4]);
//! let rows: String = (0..10).map(row).collect();
//! std::fs::write("reviews.csv", format!("stars,body\n{rows}"))?;
//!
//! let data = LabeledText::open("reviews.csv")?.text("body").label("stars").read()?;
//! let splits = data.split(&SplitConfig::default())?.tokenize(&Tokenizer::gpt2())?;
//! assert_eq!(splits.labels, ["1", "2"]);
//! assert_eq!([splits.train.len(), splits.validation.len(), splits.test.len()], [7, 1, 2]);
//!
//! // Batches of 3 examples, shuffled; an incomplete last batch is dropped.
//! let padding = Padding::To(splits.max_length);
//! let loader = DataLoader::new(&splits.train, 3, padding, true, true)?;
//! let mut rng = TorchRng::manual_seed(123);
//! for batch in loader.iter(&mut rng) {
//!     assert_eq!(batch.rows(), 3);
//!     assert_eq!(batch.ids.len(), 3 * splits.max_length);
//! }
//! assert_eq!(loader.iter(&mut rng).len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batches;
mod completions;
mod corpus;
mod error;
mod guard;
mod labeled;
mod random;
mod split;
mod table;
mod tokens;

pub use batches::{Batch, BatchError, Batches, DataLoader, Padding, length_sorted_batches};
pub use completions::{
    Answer, ChatTemplate, CompletionColumns, CompletionError, CompletionExamples, CompletionFiles,
    CompletionSet, Place, PromptEncoder, PromptFormat, PromptTokens, Schema, Sequence,
    TablePrompts, Template,
};
pub use corpus::{
    Corpus, CorpusConfig, CorpusError, Documents, TrainWindows, WindowBatch, stream_windows,
};
pub use error::{Error, Position, QuoteProblem, Result};
pub use guard::catches_panics;
pub use labeled::{
    Duplicates, Example, LabelIndex, LabeledFiles, LabeledText, Quotes, RowCounts, SourceFile,
    SourceFiles, is_empty_text, locate, normalize_label,
};
pub use random::{StateError, TorchRng, TorchRngState, numpy_permutation, randperm};
pub use split::{
    ClassRows, MANIFEST_FILE, PreparedSplit, Split, SplitConfig, SplitError, labels_of_set,
};
pub use table::{
    Added, Chunk, ColumnError, ColumnRole, Columns, Encoding, Format, LONGEST_LINE, Lines,
    QuoteChar, Separator, Shard, ShardedFile, TableOptionError, TableOptions, TableReader,
    TableWriter, TableWriterError, expand,
};
pub use tokens::{END_OF_TEXT, TokenizedSet, TokenizedSplit, Tokenizer, TokenizerDifference};
