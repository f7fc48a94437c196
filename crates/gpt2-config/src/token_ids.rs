//! Ids of special tokens in the settings of a model.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::error::{ConfigProblem, Error, Result};

/// Settings with the id of a token, and whether they may have a list of ids.
const SETTINGS: [(&str, bool); 3] =
    [("bos_token_id", false), ("eos_token_id", true), ("pad_token_id", false)];

/// Longest part of a wrong value in a message, in characters.
const SHOWN: usize = 60;

/// Tokens that end a text. Files have a number, or a list of numbers for several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenIds(pub Vec<i64>);

impl TokenIds {
    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads an id or a list of ids; `None` for anything else but `null`.
    fn of(value: &Value) -> Option<Self> {
        let ids: Option<Vec<i64>> = match value {
            Value::Null => return Some(Self::default()),
            Value::Array(ids) => ids.iter().map(Value::as_i64).collect(),
            id => id.as_i64().map(|id| vec![id]),
        };
        ids.filter(|ids| !ids.is_empty()).map(Self)
    }
}

impl From<i64> for TokenIds {
    fn from(id: i64) -> Self {
        Self(vec![id])
    }
}

impl Serialize for TokenIds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0[..] {
            [id] => id.serialize(to),
            _ => self.0.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for TokenIds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        Self::of(&value)
            .ok_or_else(|| de::Error::custom("expected the id of a token or a list of ids"))
    }
}

/// Checks the special tokens in the text of a `config.json` or `generation_config.json`, which
/// `origin` names in errors. Ids that the vocabulary does not have are accepted: published models have
/// the ids of another tokenizer, or -1 for a token that they lack.
///
/// # Errors
/// [`Error::Config`] for settings that are not JSON, and for a special token that is not a number.
pub fn check_special_tokens(text: &str, origin: &str) -> Result<()> {
    let fail = |problem| Error::Config { origin: origin.to_owned(), problem };
    let settings = serde_json::from_str(text)
        .map_err(|error| fail(ConfigProblem::Settings { reason: error.to_string() }))?;
    problem(&settings).map_or(Ok(()), |problem| Err(fail(problem)))
}

/// Returns the problem of the first special token that is not a number.
pub(crate) fn problem(settings: &Map<String, Value>) -> Option<ConfigProblem> {
    SETTINGS.into_iter().find_map(|(name, may_be_list)| {
        let value = settings.get(name)?;
        let is_valid = TokenIds::of(value).is_some() && (may_be_list || !value.is_array());
        let value = || value.to_string().chars().take(SHOWN).collect();
        (!is_valid).then(|| ConfigProblem::TokenId { name, may_be_list, value: value() })
    })
}
