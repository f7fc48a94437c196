//! GPT-2's tokenizer.

use std::ops::Range;

use tiktoken_rs::{CoreBPE, r50k_base_singleton};

/// GPT-2's `<|endoftext|>`: ends a text, and serves as padding.
pub const END_OF_TEXT: u32 = 50256;

/// Bytes of white space that the pattern may backtrack over.
const LONG_WHITE_SPACE: usize = 1000;

/// Tokenizer of a model: text to tokens and back. A clone is cheap.
///
/// GPT-2's byte-pair encoding, with tokens from 0 to 50255, is part of the program. It is built
/// when the first tokenizer is made, in some milliseconds, and shared by all.
///
/// ```
/// use dataset::{END_OF_TEXT, Tokenizer};
///
/// let tokenizer = Tokenizer::gpt2();
/// assert_eq!(tokenizer.encode("Every effort moves you"), [6109, 3626, 6100, 345]);
/// assert_eq!(tokenizer.decode(&[6109, 3626, 6100, 345]), "Every effort moves you");
///
/// // What looks like a special token in a text is text.
/// assert!(!tokenizer.encode("<|endoftext|>").contains(&END_OF_TEXT));
/// ```
#[derive(Clone)]
pub struct Tokenizer {
    pub(super) bpe: &'static CoreBPE,
    pub(super) end_of_text: u32,
    pub(super) padding: u32,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Returns the tokenizer of all GPT-2 sizes.
    pub fn gpt2() -> Self {
        Self { bpe: r50k_base_singleton(), end_of_text: END_OF_TEXT, padding: END_OF_TEXT }
    }

    /// Returns the token that ends a text.
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// Returns the token that fills a batch.
    pub fn padding(&self) -> u32 {
        self.padding
    }

    /// Returns the number of tokens, one more than the highest id.
    pub fn vocabulary_size(&self) -> u32 {
        END_OF_TEXT + 1
    }

    /// Returns 16 hexadecimal digits that tell the tokenizer from others, or `None` for GPT-2's.
    pub fn fingerprint(&self) -> Option<&str> {
        None
    }

    /// Returns the tokens of a text; none for an empty one.
    ///
    /// The pattern that divides a text into words backtracks over white space that is
    /// followed by something else, and fails at a million characters of it. Of such a run
    /// the pattern makes a word of all characters but the last, which belongs to what
    /// follows. A long run is divided there beforehand, which gives the same tokens.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let (mut ids, mut rest) = (Vec::new(), text);
        while let Some(run) = long_white_space(rest) {
            ids.extend(self.bpe.encode_ordinary(&rest[..run.start]));
            ids.extend(self.bpe.encode_ordinary(&rest[run.clone()]));
            rest = &rest[run.end..];
        }
        ids.extend(self.bpe.encode_ordinary(rest));
        ids
    }

    /// Returns the text of tokens. Bytes that are not UTF-8, such as half a character, and
    /// numbers that are not a token become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the bytes of a token; U+FFFD for a number that is not one.
    pub(super) fn bytes(&self, id: u32) -> Vec<u8> {
        self.bpe.decode_bytes(&[id]).unwrap_or_else(|_| "\u{fffd}".into())
    }
}

/// Returns the first run of at least [`LONG_WHITE_SPACE`] bytes of white space that is
/// followed by something else, without its last character.
fn long_white_space(text: &str) -> Option<Range<usize>> {
    let mut start = 0;
    let mut last = 0;
    let mut is_white_space = false;
    for (at, char) in text.char_indices() {
        if char.is_whitespace() {
            if !is_white_space {
                start = at;
            }
            last = at;
        } else if is_white_space && at - start >= LONG_WHITE_SPACE {
            return Some(start..last);
        }
        is_white_space = char.is_whitespace();
    }
    None
}
