//! Plain text for language models.

mod text;
mod windows;

pub use text::{Corpus, CorpusConfig, Documents};
pub use windows::{TrainWindows, WindowBatch, stream_windows};
