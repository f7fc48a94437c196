//! Ids of special tokens in the settings of a model.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Tokens that end a text. Files have a number, or a list of numbers for several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenIds(pub Vec<i64>);

impl TokenIds {
    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
    /// Reads what is a token id: files have other values where there is none.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let ids = match Value::deserialize(from)? {
            Value::Array(ids) => ids,
            id => vec![id],
        };
        Ok(Self(ids.iter().filter_map(Value::as_i64).filter(|id| *id >= 0).collect()))
    }
}

/// Reads a token id, or the first of a list.
pub(crate) fn first<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    Ok(TokenIds::deserialize(from)?.0.first().copied())
}
