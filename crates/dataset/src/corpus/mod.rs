//! Plain text for language models.

pub(crate) mod error;
mod text;
mod windows;

pub use error::CorpusError;
pub use text::{Corpus, CorpusConfig, Documents};
pub use windows::{TrainWindows, WindowBatch, stream_windows};
