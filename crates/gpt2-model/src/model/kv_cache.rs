//! Key-value cache for text generation.

use tch::{Device, Kind, TchError, Tensor};

/// Keys and values of the tokens that one block has seen of one sequence, in memory that is
/// allocated once.
#[derive(Debug)]
pub(crate) struct LayerCache {
    /// `[1, heads, capacity, head_dim]` each.
    kept: [Tensor; 2],
    length: i64,
}

impl LayerCache {
    /// Allocates room for a sequence of `capacity` tokens.
    pub fn new(
        heads: i64,
        capacity: i64,
        head_dim: i64,
        options: (Kind, Device),
    ) -> Result<Self, TchError> {
        let allocate = || Tensor::f_empty([1, heads, capacity, head_dim], options);
        Ok(Self { kept: [allocate()?, allocate()?], length: 0 })
    }

    /// Appends keys and values `[1, heads, seq, head_dim]` of new tokens and returns all of them.
    pub fn extend(&mut self, key: &Tensor, value: &Tensor) -> Result<[Tensor; 2], TchError> {
        let (_, _, seq, _) = key.size4()?;
        let [keys, values] = &self.kept;
        for (kept, new) in [(keys, key), (values, value)] {
            kept.f_narrow(2, self.length, seq)?.f_copy_(new)?;
        }
        self.length += seq;
        Ok([keys.f_narrow(2, 0, self.length)?, values.f_narrow(2, 0, self.length)?])
    }
}
