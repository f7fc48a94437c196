//! Layer norm (Ba et al. 2016) over the last dimension.

use tch::{TchError, Tensor};

#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub weight: Tensor,
    pub bias: Tensor,
    pub epsilon: f64,
}

impl LayerNorm {
    /// `[…, dim]` → `[…, dim]`.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let shape = self.weight.size();
        input.f_layer_norm(shape, Some(&self.weight), Some(&self.bias), self.epsilon, false)
    }
}
