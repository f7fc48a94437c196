//! Special tokens in the settings of a model directory.

use std::{io::ErrorKind, path::Path};

use serde_json::Value;
use storage::read_limited;

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
    pub fn read(folder: &Path, vocabulary_size: u32) -> Result<Self> {
        let path = folder.join("generation_config.json");
        let generation = read_settings(&path)?.unwrap_or(Ok(Value::Null));
        let generation = generation.map_err(|reason| Error::Tokenizer { path, reason })?;
        // A damaged config.json is reported by the reader of the model.
        let config = read_settings(&folder.join("config.json"))?.and_then(std::result::Result::ok);
        let settings = [generation, config.unwrap_or_default()];
        let id = |name: &str| settings.iter().find_map(|it| token_id(&it[name], vocabulary_size));
        Ok(Self { end_of_text: id("eos_token_id"), padding: id("pad_token_id") })
    }
}

/// Reads a file of settings if it exists. The inner error says that it is not JSON.
fn read_settings(path: &Path) -> Result<Option<std::result::Result<Value, String>>> {
    match read_limited(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).map_err(|error| error.to_string()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => match error.kind() {
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
