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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SpecialIds {
    /// End a text, the learned one first.
    pub ends_of_text: Vec<u32>,
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
        let [ends_of_text, padding] = ["eos_token_id", "pad_token_id"].map(|name| {
            let mut ids = settings.iter().map(|it| token_ids(&it[name], vocabulary_size));
            ids.find(|ids| !ids.is_empty()).unwrap_or_default()
        });
        Ok(Self { ends_of_text, padding: padding.first().copied() })
    }

    /// Fills in the tokens that `tokenizer_config.json` or `special_tokens_map.json` name, then
    /// the usual names. Of several tokens that end a text, the one that they name is learned.
    pub fn or_by_name(
        mut self,
        files: &TokenizerFiles,
        usual: [&[&str]; 2],
        id: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self> {
        let settings = [files.json(SETTINGS)?, files.json(SPECIAL_TOKENS)?];
        let named = |entry: &str| {
            settings.iter().flatten().find_map(|settings| id(token(&settings[entry])?))
        };
        let [end_of_text, padding] = usual.map(|names| names.iter().find_map(|name| id(name)));
        let named_end = named("eos_token");
        if self.ends_of_text.is_empty() {
            self.ends_of_text.extend(named_end.or(end_of_text));
        }
        if let Some(learned) = self.ends_of_text.iter().position(|end| Some(*end) == named_end) {
            self.ends_of_text[..=learned].rotate_right(1);
        }
        let padding = self.padding.or_else(|| named("pad_token")).or(padding);
        Ok(Self { padding, ..self })
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

/// Reads a token id, or a list of them, without repetitions.
fn token_ids(value: &Value, vocabulary_size: u32) -> Vec<u32> {
    let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let ids = values.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok());
    let mut found = Vec::new();
    for id in ids.filter(|&id| id < vocabulary_size) {
        if !found.contains(&id) {
            found.push(id);
        }
    }
    found
}
