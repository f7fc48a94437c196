//! Labelled text into balanced splits and tokenised batches, for classifiers on
//! top of GPT-2; plain text into windows of tokens, for language models.
//!
//! * [`read_messages`] reads a tab-separated file of labels and texts,
//!   [`read_labelled`] any table of them: TSV, CSV, JSON Lines or Parquet, with
//!   named columns.
//! * [`Split`] balances the classes, shuffles, and cuts into training, validation
//!   and test parts, row for row as pandas would; [`prepare`] does both and keeps
//!   the parts as CSV files that later runs use again. Parts that are files already
//!   stay as they are ([`Source::Given`]).
//! * [`Tokenizer`] is GPT-2's; [`Encoded`] is a part as tokens.
//! * [`DataLoader`] makes padded batches, in the order of PyTorch's `DataLoader`
//!   with the same seed ([`TorchRng`]).
//! * [`Corpus`] is plain text as streams of tokens, one of them held out;
//!   [`TrainWindows`] and [`stream_windows`] cut them into batches.
//! * [`TableReader`] and [`TableWriter`] take a table of any size through a program
//!   in chunks, and put it out again with columns added, in constant memory.
//!
//! The crate knows no model and no tensor: a [`Batch`] holds plain vectors.
//!
//! ```
//! use dataset::{
//!     DataLoader, Encoded, Message, Padding, Split, SplitConfig, Tokenizer, TorchRng,
//! };
//!
//! // Ten messages, as `read_messages` would return them from a file.
//! let texts = ["see you at 6", "WIN a FREE prize now", "ok", "call 0800 to claim", "home soon?"];
//! let messages: Vec<Message> = (0..10)
//!     .map(|row| Message {
//!         label: if row % 2 == 0 { "ham" } else { "spam" }.into(),
//!         text: texts[row % 5].into(),
//!         row,
//!     })
//!     .collect();
//!
//! let split = Split::new(&messages, &SplitConfig::default())?;
//! assert_eq!(split.labels, ["ham", "spam"]);
//! assert_eq!([split.train.len(), split.validation.len(), split.test.len()], [7, 1, 2]);
//!
//! // Validation and test rows are cut to the longest training row.
//! let tokenizer = Tokenizer::gpt2();
//! let train = Encoded::new(&split.train, &tokenizer, None);
//! let test = Encoded::new(&split.test, &tokenizer, Some(train.longest()));
//! assert_eq!(test.len(), 2);
//!
//! // Batches of 3 rows, shuffled, the last one dropped if it is not full.
//! let loader = DataLoader::new(&train, 3, Padding::To(train.longest()), true, true)?;
//! let mut rng = TorchRng::manual_seed(123);
//! for batch in loader.iter(&mut rng) {
//!     assert_eq!(batch.rows(), 3);
//!     assert_eq!(batch.ids.len(), 3 * train.longest());
//! }
//! assert_eq!(loader.iter(&mut rng).len(), 2);
//! # Ok::<(), dataset::Error>(())
//! ```

mod by_length;
mod corpus;
mod csv;
mod cut;
mod encoded;
mod error;
mod given;
mod labelled;
mod loader;
mod messages;
mod permutation;
#[path = "../../gpt2-model/src/plain.rs"]
mod plain;
mod prepare;
mod quotes;
mod source;
mod split;
mod table;
mod tokenizer;
mod torch_rng;
mod windows;

pub use by_length::by_length;
pub use corpus::{Corpus, CorpusConfig, Documents};
pub use encoded::Encoded;
pub use error::{Error, Result};
pub use labelled::{Labelled, RowCounts, read_labelled};
pub use loader::{Batch, Batches, DataLoader, Padding};
pub use messages::{Message, read_messages};
pub use permutation::{numpy_permutation, randperm};
pub use prepare::{MANIFEST_FILE, Preparation, Prepared, prepare};
pub use quotes::Quotes;
pub use source::{Data, Source, file_sha256};
pub use split::{ClassRows, Example, Split, SplitConfig};
pub use table::{Added, Chunk, Columns, Format, LONGEST_LINE, Lines, TableReader, TableWriter};
pub use tokenizer::{END_OF_TEXT, Tokenizer};
pub use torch_rng::{TorchRng, TorchRngState};
pub use windows::{TrainWindows, WindowBatch, stream_windows};
