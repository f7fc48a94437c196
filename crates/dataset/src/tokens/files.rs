//! Files of a tokenizer in a model directory.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;
use storage::{create_directory, read_at_most, write_atomic};

use crate::error::{Error, Result};

pub(super) const PIPELINE: &str = "tokenizer.json";
pub(super) const MERGES: &str = "merges.txt";
pub(super) const VOCABULARY: &str = "vocab.json";
pub(super) const WORD_PIECES: &str = "vocab.txt";
pub(super) const SETTINGS: &str = "tokenizer_config.json";
pub(super) const SPECIAL_TOKENS: &str = "special_tokens_map.json";
pub(super) const ADDED_TOKENS: &str = "added_tokens.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// Models of SentencePiece.
pub(super) const SENTENCE_PIECE: [&str; 3] =
    ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model"];

/// Files that define a tokenizer, or that `transformers` reads with it.
const NAMES: [&str; 11] = [
    PIPELINE,
    MERGES,
    VOCABULARY,
    WORD_PIECES,
    SETTINGS,
    SPECIAL_TOKENS,
    ADDED_TOKENS,
    CHAT_TEMPLATE,
    SENTENCE_PIECE[0],
    SENTENCE_PIECE[1],
    SENTENCE_PIECE[2],
];

/// Size limit of a file in bytes, four times the largest vocabularies.
const LIMIT: u64 = 64 << 20;

/// The tokenizer files of a directory, which may be gone by the time a model is saved.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    folder: PathBuf,
    contents: BTreeMap<&'static str, Vec<u8>>,
}

impl TokenizerFiles {
    /// Reads the tokenizer files of a directory; none if it does not exist.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut contents = BTreeMap::new();
        for name in NAMES {
            let path = folder.join(name);
            if path.is_file() {
                contents.insert(name, read_at_most(&path, LIMIT, "a tokenizer")?);
            }
        }
        Ok(Self { folder: folder.to_owned(), contents })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns a file as text, if it exists.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        let Some(bytes) = self.contents.get(name) else { return Ok(None) };
        let text = std::str::from_utf8(bytes);
        text.map(Some).map_err(|error| self.damaged(name, format!("not UTF-8 text: {error}")))
    }

    /// Returns a file as JSON, if it exists.
    pub fn json(&self, name: &str) -> Result<Option<Value>> {
        let parse = |text: &str| {
            let text = text.trim_start_matches('\u{feff}');
            serde_json::from_str(text).map_err(|error| self.damaged(name, error.to_string()))
        };
        self.text(name)?.map(parse).transpose()
    }

    /// Returns the model of SentencePiece, if there is one.
    pub fn sentence_piece(&self) -> Option<PathBuf> {
        let name = SENTENCE_PIECE.into_iter().find(|name| self.contents.contains_key(name))?;
        Some(self.path(name))
    }

    /// Returns the chat template and the file that it is in: `chat_template.jinja`, or `chat_template`
    /// in `tokenizer_config.json`, of several the one called `default`.
    pub fn chat_template(&self) -> Result<Option<(PathBuf, String)>> {
        if let Some(source) = self.text(CHAT_TEMPLATE)? {
            return Ok(Some((self.path(CHAT_TEMPLATE), source.to_owned())));
        }
        let settings = self.json(SETTINGS)?.unwrap_or_default();
        let source = match &settings["chat_template"] {
            Value::String(source) => Some(source.as_str()),
            Value::Array(named) => named
                .iter()
                .find(|it| it["name"] == "default")
                .and_then(|it| it["template"].as_str()),
            Value::Null => None,
            _ => {
                let reason = "chat_template: expected a string or a list of named templates";
                return Err(self.damaged(SETTINGS, reason.to_owned()));
            }
        };
        Ok(source.map(|source| (self.path(SETTINGS), source.to_owned())))
    }

    /// Error of an unusable file.
    pub fn damaged(&self, name: &str, reason: String) -> Error {
        Error::Tokenizer { path: self.path(name), reason }
    }

    /// Writes the files into another directory, byte for byte.
    pub fn copy(&self, folder: &Path) -> Result<()> {
        create_directory(folder)?;
        for (name, bytes) in &self.contents {
            write_atomic(&folder.join(name), bytes)?;
        }
        Ok(())
    }
}
