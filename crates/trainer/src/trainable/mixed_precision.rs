//! Mixed precision (Micikevicius et al. 2018): matrix products in bfloat16 or float16; weights,
//! residual stream and optimizer state in float32. Used when base weights are trained.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gpt2_model::{DType, Linear, LinearLayer};
use tch::{Kind, TchError, Tensor};

use crate::{error::Result, trainable::network::Network};

/// Switch of mixed precision in the linear layers of a model. Off, they compute in float32, as
/// in later use of the model.
#[derive(Clone, Debug)]
pub(crate) struct MixedPrecision(Arc<AtomicBool>);

impl MixedPrecision {
    /// Replaces the linear layers of a model by layers that can compute in `dtype` and share
    /// their weights. Mixed precision is off at first.
    pub fn install(model: &mut dyn Network, dtype: DType) -> Result<Self> {
        let (switch, kind) = (Self(Arc::new(AtomicBool::new(false))), dtype.kind());
        model.visit_linears(&mut |slot| {
            let plain = Linear::share(slot.layer.as_ref()).with_arithmetic(slot.arithmetic);
            let is_attention = !slot.outputs.is_empty();
            *slot.layer =
                Box::new(MixedLinear { plain, is_attention, kind, switch: switch.clone() });
            Ok(())
        })?;
        Ok(switch)
    }

    /// Turns mixed precision on or off.
    pub fn set(&self, is_on: bool) {
        self.0.store(is_on, Ordering::Relaxed);
    }

    /// Returns whether mixed precision is on.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Linear layer with mixed precision. While it is on, the output has the lower precision, also
/// for an activation function between two layers; adding it to the float32 residual stream
/// gives float32.
#[derive(Debug)]
struct MixedLinear {
    plain: Linear,
    /// True if attention follows, whose many small products are faster in float32.
    is_attention: bool,
    kind: Kind,
    switch: MixedPrecision,
}

impl MixedLinear {
    fn mixed(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor, TchError> {
        let half = |tensor: &Tensor| tensor.f_to_kind(self.kind);
        let bias = bias.map(half).transpose()?;
        let output = half(input)?.f_linear(&half(weight)?, bias)?;
        if self.is_attention { output.f_to_kind(Kind::Float) } else { Ok(output) }
    }
}

impl LinearLayer for MixedLinear {
    fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        self.forward_rows(input, 0..self.weight().size2()?.0)
    }

    fn forward_rows(&self, input: &Tensor, rows: Range<i64>) -> Result<Tensor, TchError> {
        if !self.switch.is_on() {
            return self.plain.forward_rows(input, rows);
        }
        let slice = |whole: &Tensor| whole.f_narrow(0, rows.start, rows.end - rows.start);
        let bias = self.bias().map(slice).transpose()?;
        self.mixed(input, &slice(self.weight())?, bias.as_ref())
    }

    fn merged(&self) -> Result<Linear, TchError> {
        self.plain.merged()
    }

    fn weight(&self) -> &Tensor {
        self.plain.weight()
    }

    fn bias(&self) -> Option<&Tensor> {
        self.plain.bias()
    }
}
