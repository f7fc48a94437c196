//! Examples for language models from tables: prompts and completions, instructions,
//! conversations and texts, as sequences of tokens of which some are learned.

mod conversation;
pub(crate) mod error;
mod examples;
mod file_columns;
mod json_filter;
mod message;
mod message_notes;
mod place;
mod prompt_encoder;
mod prompt_format;
mod record;
mod schema;
mod segment;
mod sequences;
mod template;
mod templates;
mod unique_json;

pub use error::CompletionError;
pub use examples::{Answer, CompletionExamples, CompletionFiles};
pub use place::Place;
pub use prompt_encoder::{PromptEncoder, PromptTokens, TablePrompts};
pub use prompt_format::PromptFormat;
pub use schema::{CompletionColumns, Schema};
pub use sequences::{CompletionSet, Sequence};
pub use template::{ChatTemplate, Template};
