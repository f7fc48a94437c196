//! Text as tokens and back.

use std::{fmt, ops::Range, path::PathBuf, sync::Arc};

use tiktoken_rs::{CoreBPE, r50k_base_singleton};

use super::{
    files::{SETTINGS, SPECIAL_TOKENS},
    own::OwnTokenizer,
    pipeline::token,
};
use crate::error::Result;

/// GPT-2's `<|endoftext|>`: ends a text, and serves as padding.
pub const END_OF_TEXT: u32 = 50256;

/// GPT-2's encoding in a fingerprint.
const GPT2: &str = "gpt2";
/// GPT-2's tokenizer as a fingerprint.
const GPT2_DEFAULT: &str = "gpt2 eos=50256 pad=50256";

/// Bytes of white space that the pattern may backtrack over.
const LONG_WHITE_SPACE: usize = 1000;

/// Tokenizer of a model: text to tokens and back. A clone is cheap.
///
/// GPT-2's byte-pair encoding, with tokens from 0 to 50255, is part of the program: it is built
/// when the first tokenizer is made, in some milliseconds, and shared by all.
/// [`Tokenizer::of_model`] reads the tokenizer of any other model.
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
    pub(super) encoding: Encoding,
    /// Tokens that end a text, the learned one first.
    ends_of_text: Arc<[u32]>,
    padding: u32,
    fingerprint: Option<Arc<str>>,
    /// Chat template of the model and the file that it is in.
    pub(super) chat_template: Option<Arc<(PathBuf, String)>>,
    pub(super) notes: Arc<[String]>,
}

impl Default for Tokenizer {
    /// As [`Tokenizer::gpt2`].
    fn default() -> Self {
        Self::gpt2()
    }
}

/// Encoding of texts.
#[derive(Clone)]
pub(super) enum Encoding {
    /// GPT-2's. tiktoken computes it several times as fast as the library for all kinds.
    Gpt2(&'static CoreBPE),
    /// One that was read from files.
    Own(Arc<OwnTokenizer>),
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.fingerprint();
        f.debug_struct("Tokenizer").field("fingerprint", &fingerprint).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Returns the tokenizer of all published GPT-2 sizes.
    pub fn gpt2() -> Self {
        Self::new(Encoding::Gpt2(r50k_base_singleton()), &[END_OF_TEXT], END_OF_TEXT)
    }

    /// `ends_of_text` begins with the learned token.
    pub(super) fn new(encoding: Encoding, ends_of_text: &[u32], padding: u32) -> Self {
        let fingerprint = match &encoding {
            Encoding::Gpt2(_) if (ends_of_text, padding) == (&[END_OF_TEXT], END_OF_TEXT) => None,
            encoding => {
                let ends: Vec<String> = ends_of_text.iter().map(u32::to_string).collect();
                let encoding = match encoding {
                    Encoding::Gpt2(_) => GPT2,
                    Encoding::Own(own) => &own.fingerprint,
                };
                Some(format!("{encoding} eos={} pad={padding}", ends.join(",")).into())
            }
        };
        let ends_of_text = ends_of_text.into();
        let notes = Arc::default();
        Self { encoding, ends_of_text, padding, fingerprint, chat_template: None, notes }
    }

    /// Returns the tokens of a text; none for an empty one. They equal the tokens of
    /// `transformers` with `add_special_tokens=False` and `split_special_tokens=True`: a text
    /// that looks like a special token is text, unless the vocabulary of a Unigram model has it as
    /// an ordinary piece. After texts of unknown origin, call
    /// [`Tokenizer::check`].
    pub fn encode(&self, text: &str) -> Vec<u32> {
        match &self.encoding {
            Encoding::Gpt2(bpe) => encode_gpt2(bpe, text),
            Encoding::Own(own) => own.encode(text),
        }
    }

    /// As [`Tokenizer::encode`], of a part of a text, whose tokens follow the tokens of the part
    /// before; `space` is the white space at the end of that, `None` if there is no part before. A
    /// tokenizer that marks the start of a text as the start of a word does so only where there is one.
    ///
    /// If `has_special`, the spelling of a special token that the tokenizer adds to its
    /// vocabulary, such as `<|im_end|>`, becomes that token, as in `transformers` by default. GPT-2's
    /// tokenizer adds none but the end-of-text token, which is text here too.
    pub(crate) fn encode_part(
        &self,
        text: &str,
        space: Option<&str>,
        has_special: bool,
    ) -> Vec<u32> {
        match &self.encoding {
            Encoding::Gpt2(bpe) => encode_gpt2(bpe, text),
            Encoding::Own(own) => own.encode_part(text, space, has_special),
        }
    }

    /// Returns the spellings that [`Tokenizer::encode_part`] recognizes, the longest first.
    pub(crate) fn special_tokens(&self) -> &[String] {
        match &self.encoding {
            Encoding::Gpt2(_) => &[],
            Encoding::Own(own) => &own.special_tokens,
        }
    }

    /// Returns the `bos_token` of the settings, if it is not the end-of-text token.
    pub(crate) fn beginning_of_text(&self) -> Result<Option<String>> {
        let Encoding::Own(own) = &self.encoding else { return Ok(None) };
        for name in [SETTINGS, SPECIAL_TOKENS] {
            let settings = own.files.json(name)?.unwrap_or_default();
            if let Some(spelling) = token(&settings["bos_token"]) {
                let is_other = own.id(spelling).is_some_and(|id| id != self.end_of_text());
                return Ok(is_other.then(|| spelling.to_owned()));
            }
        }
        Ok(None)
    }

    /// Returns the chat template of the model and the file that it is in.
    pub(crate) fn chat_template(&self) -> Option<&(PathBuf, String)> {
        self.chat_template.as_deref()
    }

    /// Returns the text of tokens. Bytes that are not UTF-8, such as half a character, become
    /// U+FFFD, and so do numbers that are not a token of GPT-2; other tokenizers leave these out.
    pub fn decode(&self, ids: &[u32]) -> String {
        match &self.encoding {
            Encoding::Gpt2(bpe) => {
                let bytes: Vec<u8> = ids.iter().flat_map(|&id| bytes_of(bpe, id)).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Encoding::Own(own) => own.decode(ids),
        }
    }

    /// Reports a text that could not be tokenized, for which [`Tokenizer::encode`] returned no
    /// tokens. Only damaged tokenizer files make it fail.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) names the file and the reason.
    pub fn check(&self) -> Result<()> {
        match &self.encoding {
            Encoding::Gpt2(_) => Ok(()),
            Encoding::Own(own) => own.check(),
        }
    }

    /// Returns the token that ends a text, which a model learns.
    pub fn end_of_text(&self) -> u32 {
        self.ends_of_text[0]
    }

    /// Returns the tokens that end a generated text: [`Tokenizer::end_of_text`], then the others.
    pub fn ends_of_text(&self) -> &[u32] {
        &self.ends_of_text
    }

    /// Returns the token that fills a batch.
    pub fn padding(&self) -> u32 {
        self.padding
    }

    /// Returns notes on ids in the settings of the model that are ignored, because the vocabulary does
    /// not have them.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the number of tokens, one more than the highest id.
    pub fn vocabulary_size(&self) -> u32 {
        match &self.encoding {
            Encoding::Gpt2(_) => END_OF_TEXT + 1,
            Encoding::Own(own) => own.vocabulary_size,
        }
    }

    /// Returns whether texts are encoded as by GPT-2.
    pub fn is_gpt2(&self) -> bool {
        matches!(self.encoding, Encoding::Gpt2(_))
    }

    /// Returns a name that tells the tokenizer from others, or `None` for GPT-2's: 16 hexadecimal
    /// digits for its encoding, which files that differ in their layout only have in common, or `gpt2`,
    /// and the tokens that end and fill texts.
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// Compares the tokenizer with the one of a fingerprint.
    pub fn compare(&self, fingerprint: Option<&str>) -> TokenizerDifference {
        let [own, other] = [self.fingerprint(), fingerprint].map(|it| it.unwrap_or(GPT2_DEFAULT));
        let ([encoding, special], [other_encoding, other_special]) = (parts(own), parts(other));
        if encoding != other_encoding {
            TokenizerDifference::Encoding
        } else if special == other_special || other_special.is_empty() {
            TokenizerDifference::None
        } else {
            let [given, expected] = [special, other_special].map(str::to_owned);
            TokenizerDifference::SpecialTokens { given, expected }
        }
    }
}

/// Difference between a tokenizer and the one of a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenizerDifference {
    /// They are the same, or the fingerprint does not tell.
    None,
    /// Other tokens end or fill texts.
    SpecialTokens {
        /// Special tokens of the tokenizer, as `eos=1,2 pad=0`.
        given: String,
        /// Special tokens of the fingerprint.
        expected: String,
    },
    /// Texts have other tokens.
    Encoding,
}

/// Encoding and special tokens of a fingerprint. Fingerprints of adapters may lack the latter.
fn parts(fingerprint: &str) -> [&str; 2] {
    fingerprint.split_once(' ').map_or([fingerprint, ""], |(encoding, rest)| [encoding, rest])
}

/// Returns the bytes of a token of GPT-2; U+FFFD for a number that is not one.
pub(super) fn bytes_of(bpe: &CoreBPE, id: u32) -> Vec<u8> {
    bpe.decode_bytes(&[id]).unwrap_or_else(|_| "\u{fffd}".into())
}

/// Returns the tokens of a text by GPT-2's encoding.
///
/// The pattern that divides a text into words backtracks over white space that is followed by
/// something else, and fails at a million characters of it. Of such a run the pattern makes a word
/// of all characters but the last, which belongs to what follows. A long run is divided there
/// beforehand, which gives the same tokens.
fn encode_gpt2(bpe: &CoreBPE, text: &str) -> Vec<u32> {
    let (mut ids, mut rest) = (Vec::new(), text);
    while let Some(run) = long_white_space(rest) {
        ids.extend(bpe.encode_ordinary(&rest[..run.start]));
        ids.extend(bpe.encode_ordinary(&rest[run.clone()]));
        rest = &rest[run.end..];
    }
    ids.extend(bpe.encode_ordinary(rest));
    ids
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
