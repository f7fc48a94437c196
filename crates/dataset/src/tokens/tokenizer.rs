//! GPT-2's tokenizer.

use tiktoken_rs::{CoreBPE, r50k_base_singleton};

/// GPT-2's `<|endoftext|>`: ends a text, and serves as padding.
pub const END_OF_TEXT: u32 = 50256;

/// GPT-2's byte-pair encoding: text to tokens from 0 to 50255 and back.
///
/// The vocabulary is part of the program. It is built when the first tokenizer
/// is made, in some milliseconds, and shared by all.
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
#[derive(Clone, Copy)]
pub struct Tokenizer {
    bpe: &'static CoreBPE,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Returns the tokenizer of all GPT-2 sizes.
    pub fn gpt2() -> Self {
        Self { bpe: r50k_base_singleton() }
    }

    /// Returns the tokens of a text; none for an empty one.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.bpe.encode_ordinary(text)
    }

    /// Returns the text of tokens. Bytes that are not UTF-8, such as half a character, and
    /// numbers that are not a token become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &id in ids {
            match self.bpe.decode_bytes(&[id]) {
                Ok(token) => bytes.extend(token),
                Err(_) => bytes.extend("\u{fffd}".bytes()),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
