//! Special tokens in the settings of a model directory.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde_json::Value;
use storage::read_limited;

use super::{
    files::{SETTINGS, SPECIAL_TOKENS, TokenizerFiles},
    pipeline::token,
};
use crate::error::{Error, Result};

/// Settings with the id of a token, and whether they may have a list of ids.
const NAMES: [(&str, bool); 3] =
    [("eos_token_id", true), ("pad_token_id", false), ("bos_token_id", false)];

/// Longest part of a wrong value in a message, in characters.
const SHOWN: usize = 60;

/// Most ids in a note.
const SHOWN_IDS: usize = 8;

/// Ids of special tokens that the settings of a model name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SpecialIds {
    /// End a text, the learned one first.
    pub ends_of_text: Vec<u32>,
    /// Fills a batch.
    pub padding: Option<u32>,
    /// Ids that the vocabulary does not have.
    pub unknown: Vec<UnknownIds>,
}

/// Ids in a file that the vocabulary does not have: published models have the ids of another
/// tokenizer, or -1 for a token that they lack. `transformers` loads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnknownIds {
    path: PathBuf,
    /// Name of each setting and its id.
    ids: Vec<(&'static str, i64)>,
}

impl UnknownIds {
    /// Returns a note with the ids that are used instead.
    pub fn note(&self, vocabulary_size: u32, end_of_text: u32, padding: u32) -> String {
        let ids = self.ids.iter().take(SHOWN_IDS).map(|(name, id)| format!("{name} {id}"));
        let mut ids: Vec<String> = ids.collect();
        if self.ids.len() > SHOWN_IDS {
            ids.push(format!("and {} more", self.ids.len() - SHOWN_IDS));
        }
        let is_ignored = |name: &str| self.ids.iter().any(|(it, _)| *it == name);
        let used = [
            ("eos_token_id", "texts end with", end_of_text),
            ("pad_token_id", "batches are filled with", padding),
        ];
        let used = used.into_iter().filter(|(name, ..)| is_ignored(name));
        let used: String = used.map(|(_, role, id)| format!("; {role} {id}")).collect();
        format!(
            "{}: ignored {}, because the tokenizer has the tokens 0 to {}{used}",
            self.path.display(),
            ids.join(", "),
            vocabulary_size.saturating_sub(1)
        )
    }
}

impl SpecialIds {
    /// Reads `generation_config.json`, then `config.json`. Ids that are not below
    /// `vocabulary_size` are not used.
    ///
    /// # Errors
    /// [`Error::SpecialToken`] for a value that is not an id or a list of ids.
    pub fn of_model(folder: &Path, vocabulary_size: u32) -> Result<Self> {
        let mut ids = Self::default();
        for (name, is_reported) in [("generation_config.json", true), ("config.json", false)] {
            let path = folder.join(name);
            match read_settings(&path)? {
                Some(Ok(settings)) => ids.add(path, &settings, vocabulary_size)?,
                Some(Err(reason)) if is_reported => return Err(Error::Tokenizer { path, reason }),
                // A damaged config.json is reported by the reader of the model.
                Some(Err(_)) | None => {}
            }
        }
        Ok(ids)
    }

    /// Adds the ids of a file where the files before it have none.
    fn add(&mut self, path: PathBuf, settings: &Value, vocabulary_size: u32) -> Result<()> {
        let mut unknown = Vec::new();
        for (name, may_be_list) in NAMES {
            let value = &settings[name];
            let Some(ids) = token_ids(value, may_be_list) else {
                let value = value.to_string().chars().take(SHOWN).collect();
                return Err(Error::SpecialToken { path, name, may_be_list, value });
            };
            let mut known: Vec<u32> = Vec::new();
            for id in ids {
                match u32::try_from(id).ok().filter(|id| *id < vocabulary_size) {
                    Some(id) if known.contains(&id) => {}
                    Some(id) => known.push(id),
                    None => unknown.push((name, id)),
                }
            }
            match name {
                "eos_token_id" if self.ends_of_text.is_empty() => self.ends_of_text = known,
                "pad_token_id" => self.padding = self.padding.or(known.first().copied()),
                _ => {}
            }
        }
        if !unknown.is_empty() {
            self.unknown.push(UnknownIds { path, ids: unknown });
        }
        Ok(())
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

/// Reads an id, or a list of ids; none of `null`. Returns `None` for other values.
fn token_ids(value: &Value, may_be_list: bool) -> Option<Vec<i64>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(ids) if may_be_list => {
            let ids: Option<Vec<i64>> = ids.iter().map(Value::as_i64).collect();
            ids.filter(|ids| !ids.is_empty())
        }
        id => id.as_i64().map(|id| vec![id]),
    }
}
