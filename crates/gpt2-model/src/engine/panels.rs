//! Frozen bfloat16 weights of a linear layer in the order in which the kernels read them.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use kernels::{Isa, Matrix, PackedWeights, Precision};
use tch::Tensor;

use crate::{error::Result, tensor::float_values};

/// Use of packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Factor of the output, `[in, out]`.
    Forward,
    /// Factor of the gradient of the input, `[out, in]`.
    Backward,
}

/// Packed outputs of a layer for one direction.
#[derive(Debug)]
struct Entry {
    direction: Direction,
    outputs: Range<i64>,
    weights: Arc<PackedWeights>,
}

/// Packed weights of a layer, each packed when it is first used.
#[derive(Debug, Default)]
pub(crate) struct PanelCache(Mutex<Vec<Entry>>);

impl PanelCache {
    /// Returns the packed weights of `outputs` of a layer with a bfloat16 `weight` `[out, in]`,
    /// which is the same in every call.
    pub fn get(
        &self,
        direction: Direction,
        outputs: &Range<i64>,
        weight: &Tensor,
    ) -> Result<Arc<PackedWeights>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_wanted = |entry: &&Entry| entry.direction == direction && entry.outputs == *outputs;
        if let Some(entry) = entries.iter().find(is_wanted) {
            return Ok(Arc::clone(&entry.weights));
        }
        let weight = weight.f_narrow(0, outputs.start, outputs.end - outputs.start)?;
        let weights = Arc::new(pack(direction, &weight)?);
        let entry = Entry { direction, outputs: outputs.clone(), weights: Arc::clone(&weights) };
        entries.push(entry);
        Ok(weights)
    }
}

fn pack(direction: Direction, weight: &Tensor) -> Result<PackedWeights> {
    let (out, width) = weight.size2()?;
    let values = float_values(weight)?;
    let matrix = Matrix::new(&values, out as usize, width as usize)?;
    let factor = match direction {
        Direction::Forward => matrix.transposed(),
        Direction::Backward => matrix,
    };
    Ok(PackedWeights::pack(Isa::detect(), Precision::BFloat16, &factor)?)
}
