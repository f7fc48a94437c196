//! Special tokens in the settings of a model directory.

use std::{io::ErrorKind, path::Path};

use serde_json::Value;
use storage::read_limited;

use super::{
    files::{SETTINGS, SPECIAL_TOKENS, TokenizerFiles},
    pipeline::token,
};
use crate::error::{Error, Result};

/// Ids of special tokens that the settings of a model name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SpecialIds {
    /// Ends a text.
    pub end_of_text: Option<u32>,
    /// Fills a batch.
    pub padding: Option<u32>,
}

impl SpecialIds {
    /// Reads `generation_config.json`, then `config.json`. Ids that are not below
    /// `vocabulary_size` are ignored: configurations repeat GPT-2's ids for other vocabularies.
    pub fn of_model(folder: &Path, vocabulary_size: u32) -> Result<Self> {
        let path = folder.join("generation_config.json");
        let generation = read_settings(&path)?.unwrap_or(Ok(Value::Null));
        let generation = generation.map_err(|reason| Error::Tokenizer { path, reason })?;
        // A damaged config.json is reported by the reader of the model.
        let config = read_settings(&folder.join("config.json"))?.and_then(std::result::Result::ok);
        let settings = [generation, config.unwrap_or_default()];
        let id = |name: &str| settings.iter().find_map(|it| token_id(&it[name], vocabulary_size));
        Ok(Self { end_of_text: id("eos_token_id"), padding: id("pad_token_id") })
    }

    /// Fills in the tokens that `tokenizer_config.json` or `special_tokens_map.json` name, then
    /// the usual names.
    pub fn or_by_name(
        self,
        files: &TokenizerFiles,
        usual: [&[&str]; 2],
        id: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self> {
        let settings = [files.json(SETTINGS)?, files.json(SPECIAL_TOKENS)?];
        let named = |entry: &str| {
            settings.iter().flatten().find_map(|settings| id(token(&settings[entry])?))
        };
        let [end_of_text, padding] = usual.map(|names| names.iter().find_map(|name| id(name)));
        Ok(Self {
            end_of_text: self.end_of_text.or_else(|| named("eos_token")).or(end_of_text),
            padding: self.padding.or_else(|| named("pad_token")).or(padding),
        })
    }
}

/// Reads a file of settings if it exists. The inner error says that it is not JSON.
fn read_settings(path: &Path) -> Result<Option<std::result::Result<Value, String>>> {
    match read_limited(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).map_err(|error| error.to_string()))),
        Err(error) => match error.kind() {
            ErrorKind::NotFound => Ok(None),
            ErrorKind::FileTooLarge => Ok(Some(Err(error.into_io().to_string()))),
            _ => Err(error.into()),
        },
    }
}

/// A token id, or the first of a list.
fn token_id(value: &Value, vocabulary_size: u32) -> Option<u32> {
    let id = value.as_array().and_then(|ids| ids.first()).unwrap_or(value).as_u64()?;
    u32::try_from(id).ok().filter(|&id| id < vocabulary_size)
}
