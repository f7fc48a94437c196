//! Mixed precision (Micikevicius et al. 2018): matrix products in bfloat16,
//! weights, sums and optimizer in float32.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gpt2_model::{Arithmetic, Gpt2, Linear, LinearLayer};
use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

/// What matrix products are computed in while training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// All of them exactly as the model is used later.
    #[default]
    Float32,
    /// Several times faster on a CPU with `avx512_bf16` or `amx`, slower on others.
    Bfloat16,
}

/// Switches the linear layers of a model between bfloat16 and float32.
#[derive(Clone, Debug)]
pub(crate) struct Switch(Arc<AtomicBool>);

impl Switch {
    /// Puts switched layers in the place of the model's own. They share the
    /// weights, and start in float32.
    pub fn install(model: &mut Gpt2) -> Result<Self, TchError> {
        let switch = Self(Arc::new(AtomicBool::new(false)));
        model.visit_linears(&mut |slot| {
            let weight = slot.layer.weight().shallow_clone();
            let bias = slot.layer.bias().map(Tensor::shallow_clone);
            let plain = Linear::new(weight, bias);
            let is_attention = !slot.outputs.is_empty();
            *slot.layer = Box::new(Switched { plain, is_attention, switch: switch.clone() });
            Ok::<(), TchError>(())
        })?;
        Ok(switch)
    }

    /// From here on the layers compute in this precision.
    pub fn set(&self, precision: Precision) {
        self.0.store(precision == Precision::Bfloat16, Ordering::Relaxed);
    }

    fn is_bfloat16(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A linear layer that computes in bfloat16 where that is switched on. Its output
/// then is bfloat16, so that an activation between two layers is too; added to
/// the float32 residual stream it becomes float32 again.
#[derive(Debug)]
struct Switched {
    plain: Linear,
    /// Attention follows, whose many small products are faster in float32.
    is_attention: bool,
    switch: Switch,
}

impl Switched {
    fn in_bfloat16(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor, TchError> {
        let half = |tensor: &Tensor| tensor.f_to_kind(Kind::BFloat16);
        let bias = bias.map(half).transpose()?;
        let output = half(input)?.f_linear(&half(weight)?, bias)?;
        if self.is_attention { output.f_to_kind(Kind::Float) } else { Ok(output) }
    }
}

impl LinearLayer for Switched {
    fn forward_rows(
        &self,
        input: &Tensor,
        rows: Range<i64>,
        arithmetic: Arithmetic,
    ) -> Result<Tensor, TchError> {
        if !self.switch.is_bfloat16() {
            return self.plain.forward_rows(input, rows, arithmetic);
        }
        let part = |whole: &Tensor| whole.f_narrow(0, rows.start, rows.end - rows.start);
        let bias = self.bias().map(part).transpose()?;
        self.in_bfloat16(input, &part(self.weight())?, bias.as_ref())
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
