//! Examples for language models from tables: prompts and completions, instructions,
//! conversations and texts, as sequences of tokens of which some are learned.

mod conversation;
pub(crate) mod error;
mod examples;
mod prompt_format;
mod record;
mod schema;
mod sequences;
mod template;
mod templates;

pub use error::CompletionError;
pub use examples::{Answer, CompletionExamples, CompletionFiles, Place};
pub use prompt_format::{PromptEncoder, PromptFormat, TablePrompts};
pub use schema::{CompletionColumns, Schema};
pub use sequences::{CompletionSet, Sequence};
pub use template::{ChatTemplate, Template};
