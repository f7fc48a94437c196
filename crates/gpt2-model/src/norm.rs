//! Layer norm (Ba et al. 2016) over the last dimension.

use tch::{TchError, Tensor};

use crate::arithmetic::Arithmetic;

#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub weight: Tensor,
    pub bias: Tensor,
    pub epsilon: f64,
}

impl LayerNorm {
    /// `[…, dim]` → `[…, dim]`.
    pub fn forward(&self, input: &Tensor, arithmetic: Arithmetic) -> Result<Tensor, TchError> {
        if arithmetic == Arithmetic::Stepwise {
            let mean = input.f_mean_dim(&[-1i64][..], true, None)?;
            let variance = input.f_var_dim(&[-1i64][..], false, true)?;
            let centred = input.f_sub(&mean)?;
            let mut normal = centred.f_div(&variance.f_add_scalar(self.epsilon)?.f_sqrt()?)?;
            // A frozen weight allows to scale in place.
            return match self.weight.requires_grad() {
                true => self.weight.f_mul(&normal)?.f_add(&self.bias),
                false => normal.f_mul_(&self.weight)?.f_add_(&self.bias),
            };
        }
        let shape = self.weight.size();
        input.f_layer_norm(shape, Some(&self.weight), Some(&self.bias), self.epsilon, false)
    }
}
