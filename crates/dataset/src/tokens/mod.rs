//! Text as tokens.

mod continuation;
mod files;
mod hugging_face;
mod of_model;
mod own;
mod pipeline;
mod special_ids;
mod tokenized_set;
mod tokenized_split;
mod tokenizer;

pub use tokenized_set::TokenizedSet;
pub use tokenized_split::TokenizedSplit;
pub use tokenizer::{END_OF_TEXT, Tokenizer, TokenizerDifference};
