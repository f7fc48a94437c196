//! Layer norm (Ba et al. 2016) over the last dimension.

use tch::{TchError, Tensor};

use crate::model::arithmetic::Arithmetic;

#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub weight: Tensor,
    pub bias: Tensor,
    pub epsilon: f64,
    pub arithmetic: Arithmetic,
}

impl LayerNorm {
    /// `[…, dim]` → `[…, dim]`.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        if self.arithmetic == Arithmetic::Stepwise {
            return self.stepwise(input);
        }
        let shape = self.weight.size();
        input.f_layer_norm(shape, Some(&self.weight), Some(&self.bias), self.epsilon, false)
    }

    fn stepwise(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let mean = input.f_mean_dim(&[-1i64][..], true, None)?;
        let variance = input.f_var_dim(&[-1i64][..], false, true)?;
        let centered = input.f_sub(&mean)?;
        let mut normal = centered.f_div(&variance.f_add_scalar(self.epsilon)?.f_sqrt()?)?;
        if self.weight.requires_grad() {
            return self.weight.f_mul(&normal)?.f_add(&self.bias);
        }
        // A frozen weight allows to scale in place.
        normal.f_mul_(&self.weight)?.f_add_(&self.bias)
    }

    /// Returns a norm of the same tensors, which are shared.
    pub fn share(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone(), ..*self }
    }

    /// Returns a one-line description and the parameters with their names.
    pub fn described(&self) -> (String, Vec<(String, Tensor)>) {
        let about = format!("LayerNorm({}, eps={:e})", self.weight.size()[0], self.epsilon);
        let parameters = [("weight", &self.weight), ("bias", &self.bias)];
        (about, parameters.map(|(name, value)| (name.to_owned(), value.shallow_clone())).into())
    }
}
