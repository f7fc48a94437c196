//! Key-value cache for text generation.

use tch::{TchError, Tensor};

/// Keys and values `[batch, heads, seq, head_dim]` of the tokens that one block has
/// seen.
#[derive(Debug, Default)]
pub(crate) struct LayerCache {
    kept: Option<(Tensor, Tensor)>,
}

impl LayerCache {
    /// Appends the keys and values of new tokens and returns all of them.
    pub fn extend(&mut self, key: Tensor, value: Tensor) -> Result<(Tensor, Tensor), TchError> {
        let (key, value) = match &self.kept {
            None => (key, value),
            Some((old_key, old_value)) => {
                (Tensor::f_cat(&[old_key, &key], 2)?, Tensor::f_cat(&[old_value, &value], 2)?)
            }
        };
        self.kept = Some((key.shallow_clone(), value.shallow_clone()));
        Ok((key, value))
    }
}

/// Keys and values of the tokens that a generating model has seen.
#[derive(Debug)]
pub struct KeyValueCache {
    pub(crate) layers: Vec<LayerCache>,
    pub(crate) seen: i64,
}

impl KeyValueCache {
    /// Number of tokens seen so far.
    pub fn len(&self) -> i64 {
        self.seen
    }

    /// Returns whether no token was seen yet.
    pub fn is_empty(&self) -> bool {
        self.seen == 0
    }
}
