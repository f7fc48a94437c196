//! A model's own tokenizer.

use std::{fmt, sync::OnceLock};

use serde_json::Value;
use storage::Sha256;
use tokenizers::Model;

use super::{continuation::encode_continuation, files::TokenizerFiles, pipeline::Pipeline};
use crate::{error::Result, guard::caught};

/// Text with many kinds of characters, whose tokens are part of the fingerprint.
const PROBE: &str = "It's 12345 TESTS, don't! I'Ve  a\ttab\r\n\n  caf\u{e9} cafe\u{301} \u{fb01}n \
    \u{130}stanbul stra\u{df}e \u{41f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{645}\u{631}\u{62d}\u{628}\u{627} \
    \u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947} \u{4f60}\u{597d}\u{4e16}\u{754c} \u{65e5}\u{672c}\u{8a9e}\u{306e}\u{30c6}\u{30ad}\u{30b9}\u{30c8} \
    \u{d55c}\u{ad6d}\u{c5b4} \u{1f642}\u{200d} \u{2581}_##x <s> [SEP] ";

/// A character that is in no vocabulary: the last one for private use.
const UNKNOWN: &str = "\u{10fffd}";

/// Digits of a fingerprint.
const DIGITS: usize = 16;

/// Tokenizer of the library `tokenizers`, and the files that it was read from.
pub(super) struct OwnTokenizer {
    tokenizer: tokenizers::Tokenizer,
    /// The same with special tokens recognized in texts; made when it is first used.
    with_special: OnceLock<tokenizers::Tokenizer>,
    /// Spellings of the special tokens, the longest first.
    pub special_tokens: Vec<String>,
    pub files: TokenizerFiles,
    /// File that defines it.
    name: &'static str,
    pub vocabulary_size: u32,
    pub fingerprint: String,
    /// First failure to tokenize a text.
    failure: OnceLock<String>,
}

impl fmt::Debug for OwnTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnTokenizer")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl OwnTokenizer {
    pub fn new(files: TokenizerFiles, pipeline: Pipeline) -> Result<Self> {
        let Pipeline { name, json } = pipeline;
        let added = json["added_tokens"].clone();
        let mut tokenizer = read(json).map_err(|reason| files.damaged(name, reason))?;
        // A text that looks like a special token is text.
        tokenizer.set_encode_special_tokens(true);
        check_added(&tokenizer, &added).map_err(|reason| files.damaged(name, reason))?;
        let mut vocabulary: Vec<(u32, String)> =
            tokenizer.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect();
        vocabulary.sort_unstable();
        let highest = vocabulary.last().map(|(id, _)| *id);
        let Some(vocabulary_size) = highest.and_then(|id| id.checked_add(1)) else {
            let reason = format!(
                "expected token ids from 0 to {}, got {} tokens with the highest id {}",
                u32::MAX - 1,
                vocabulary.len(),
                highest.unwrap_or_default()
            );
            return Err(files.damaged(name, reason));
        };
        let mut own = Self {
            special_tokens: special_tokens(&tokenizer),
            tokenizer,
            with_special: OnceLock::new(),
            files,
            name,
            vocabulary_size,
            fingerprint: String::new(),
            failure: OnceLock::new(),
        };
        own.fingerprint = own.digest(&vocabulary);
        own.check()?;
        Ok(own)
    }

    /// Digest of the vocabulary and of the tokens of a text: equal for files that differ in their
    /// layout only.
    fn digest(&self, vocabulary: &[(u32, String)]) -> String {
        let mut sum = Sha256::new();
        for (id, token) in vocabulary {
            sum.update(format!("{id} {token}\n"));
        }
        sum.update(format!("{:?}", self.encode(PROBE)));
        let mut digits = sum.finish();
        digits.truncate(DIGITS);
        digits
    }

    /// Returns the tokens of a text. A text that the library fails on has none, and
    /// [`OwnTokenizer::check`] returns the error from then on.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.ids(|| self.tokenizer.encode_fast(text, false))
    }

    /// As [`OwnTokenizer::encode`], of a part of a text. Special tokens are spelled out in it if
    /// `has_special`. `space` is the white space at the end of the part before, if there is one.
    pub fn encode_part(&self, text: &str, space: Option<&str>, has_special: bool) -> Vec<u32> {
        let tokenizer = if has_special { self.with_special() } else { &self.tokenizer };
        // Where white space has no token, a marker of a word's start stands for it.
        let is_dropped = |space| self.encode(&format!("a{space}")) == self.encode("a");
        match space {
            Some(space) if space.is_empty() || !is_dropped(space) => {
                self.ids(|| encode_continuation(tokenizer, text))
            }
            _ => self.ids(|| tokenizer.encode_fast(text, false)),
        }
    }

    fn with_special(&self) -> &tokenizers::Tokenizer {
        self.with_special.get_or_init(|| {
            let mut tokenizer = self.tokenizer.clone();
            tokenizer.set_encode_special_tokens(false);
            tokenizer
        })
    }

    fn ids(&self, encode: impl FnOnce() -> tokenizers::Result<tokenizers::Encoding>) -> Vec<u32> {
        let result = match caught(encode) {
            Some(Ok(encoding)) => return encoding.get_ids().to_vec(),
            Some(Err(error)) => error.to_string(),
            None => "the library panicked".to_owned(),
        };
        self.failure.get_or_init(|| result);
        Vec::new()
    }

    /// Returns the text of tokens. Numbers that are not a token are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        let decoded = caught(|| self.tokenizer.decode(ids, false).ok()).flatten();
        decoded.unwrap_or_else(|| "\u{fffd}".to_owned())
    }

    /// Returns the error of the first text that could not be tokenized.
    pub fn check(&self) -> Result<()> {
        match self.failure.get() {
            None => Ok(()),
            Some(reason) => {
                let reason = format!("it fails to tokenize a text: {reason}");
                Err(self.files.damaged(self.name, reason))
            }
        }
    }

    /// Returns the id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }
}

fn special_tokens(tokenizer: &tokenizers::Tokenizer) -> Vec<String> {
    let added = tokenizer.get_added_tokens_decoder();
    let special = added.into_values().filter(|token| token.special && !token.content.is_empty());
    let mut special: Vec<String> = special.map(|token| token.content).collect();
    special.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    special
}

/// Parses a tokenizer, and tries an unknown character, for which the vocabulary needs a token.
fn read(json: Value) -> std::result::Result<tokenizers::Tokenizer, String> {
    let parse = || {
        let tokenizer: tokenizers::Tokenizer =
            serde_json::from_value(json).map_err(|error| error.to_string())?;
        let unknown = tokenizer.get_model().tokenize(UNKNOWN);
        unknown.map_err(|error| format!("no token for unknown characters: {error}"))?;
        Ok(tokenizer)
    };
    caught(parse).unwrap_or_else(|| Err("its contents are impossible".to_owned()))
}

/// Checks that added tokens have their ids: the library counts from the end of the vocabulary.
fn check_added(
    tokenizer: &tokenizers::Tokenizer,
    added: &Value,
) -> std::result::Result<(), String> {
    for token in added.as_array().into_iter().flatten() {
        let (content, id) = (token["content"].as_str().unwrap_or_default(), token["id"].as_u64());
        let actual = tokenizer.token_to_id(content).map(u64::from);
        if actual != id {
            return Err(format!(
                "added token {content:?}: expected the id {}, the next one of the vocabulary, got {}",
                actual.unwrap_or_default(),
                id.unwrap_or_default()
            ));
        }
    }
    Ok(())
}
