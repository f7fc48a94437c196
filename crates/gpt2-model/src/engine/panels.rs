//! Frozen weights of a linear layer in the order in which the kernels read them.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use kernels::{Isa, Matrix, PackedWeights, Precision};
use tch::{Kind, Tensor};

use crate::{error::Result, tensor::float_values};

/// Packed weight of outputs of a frozen linear layer, and their bias.
#[derive(Debug)]
pub(crate) struct Panels {
    /// Factor of the forward pass, `[in, out]`.
    pub forward: PackedWeights,
    /// Factor of the gradient of the input, `[out, in]`.
    pub backward: PackedWeights,
    /// `[out]`
    pub bias: Vec<f32>,
}

impl Panels {
    /// Packs `weight` `[out, in]` and `bias` `[out]`, in the number format of the weight.
    fn pack(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let (out, width) = weight.size2()?;
        let precision =
            if weight.kind() == Kind::BFloat16 { Precision::BFloat16 } else { Precision::Float32 };
        let values = float_values(weight)?;
        let matrix = Matrix::new(&values, out as usize, width as usize)?;
        let isa = Isa::detect();
        Ok(Self {
            forward: PackedWeights::pack(isa, precision, &matrix.transposed()),
            backward: PackedWeights::pack(isa, precision, &matrix),
            bias: match bias {
                Some(bias) => float_values(bias)?,
                None => vec![0.0; out as usize],
            },
        })
    }
}

/// Panels of a layer, packed when they are first used.
#[derive(Debug, Default)]
pub(crate) struct PanelCache(Mutex<Vec<(Range<i64>, Arc<Panels>)>>);

impl PanelCache {
    /// Returns the panels of `outputs` of a layer, whose weight is the same in every call.
    pub fn get(
        &self,
        outputs: &Range<i64>,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Arc<Panels>> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, panels)) = cached.iter().find(|(range, _)| range == outputs) {
            return Ok(Arc::clone(panels));
        }
        let length = outputs.end - outputs.start;
        let slice = |whole: &Tensor| whole.f_narrow(0, outputs.start, length);
        let bias = bias.map(slice).transpose()?;
        let panels = Arc::new(Panels::pack(&slice(weight)?, bias.as_ref())?);
        cached.push((outputs.clone(), Arc::clone(&panels)));
        Ok(panels)
    }
}
