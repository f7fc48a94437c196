//! Parts of the text of an example, and their tokens.

use super::template::{END, ESCAPE};
use crate::tokens::Tokenizer;

/// Part of an example's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Text, in which [`END`] stands for the end-of-text token.
    pub text: String,
    pub is_learned: bool,
    /// A chat template has rendered it: special tokens are spelled out.
    pub is_chat: bool,
}

impl Segment {
    /// Prompt or completion of a table.
    pub fn plain(text: String, is_learned: bool) -> Self {
        Self { text, is_learned, is_chat: false }
    }

    /// Part of a conversation.
    pub fn of_chat(text: &str, is_learned: bool) -> Self {
        Self { text: text.to_owned(), is_learned, is_chat: true }
    }
}

/// Appends the tokens of a text in which [`END`] stands for the end-of-text token. In the text of a
/// conversation special tokens are spelled out, and [`ESCAPE`] divides a spelling that is text.
pub(super) fn encode(
    text: &str,
    is_chat: bool,
    tokenizer: &Tokenizer,
    end: u32,
    ids: &mut Vec<u32>,
) {
    for (number, text) in text.split(END).enumerate() {
        if number > 0 {
            ids.push(end);
        }
        if is_chat {
            text.split(ESCAPE).for_each(|text| ids.extend(tokenizer.encode_with_special(text)));
        } else {
            ids.extend(tokenizer.encode(text));
        }
    }
}
