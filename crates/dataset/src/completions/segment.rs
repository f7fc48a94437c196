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

/// Tokens of the segments of one example or prompt, in their order.
///
/// Segments are encoded one by one, so that the tokens of a prompt do not depend on what follows.
pub(super) struct SegmentTokens<'a> {
    tokenizer: &'a Tokenizer,
    end: u32,
    pub ids: Vec<u32>,
    /// White space at the end of the text so far; `None` at its start and after the end-of-text token.
    space: Option<String>,
}

impl<'a> SegmentTokens<'a> {
    /// No segments yet; `end` is the end-of-text token.
    pub fn new(tokenizer: &'a Tokenizer, end: u32) -> Self {
        Self { tokenizer, end, ids: Vec::new(), space: None }
    }

    /// Appends the tokens of a segment. In a conversation special tokens are spelled out, and
    /// [`ESCAPE`] divides a spelling that is text.
    pub fn push(&mut self, segment: &Segment) {
        for (number, text) in segment.text.split(END).enumerate() {
            if number > 0 {
                self.ids.push(self.end);
                self.space = None;
            }
            if segment.is_chat {
                text.split(ESCAPE).for_each(|part| self.push_part(part, true));
            } else {
                self.push_part(text, false);
            }
        }
    }

    fn push_part(&mut self, part: &str, is_chat: bool) {
        if part.is_empty() {
            return;
        }
        self.ids.extend(self.tokenizer.encode_part(part, self.space.as_deref(), is_chat));
        let text = part.trim_end();
        if !text.is_empty() {
            self.space = None;
        }
        self.space.get_or_insert_default().push_str(&part[text.len()..]);
    }
}
