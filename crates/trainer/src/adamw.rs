//! AdamW (Loshchilov and Hutter 2019, *Decoupled Weight Decay Regularization*,
//! algorithm 2), over tensors of our own: its state can be read and saved.

use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

/// Settings of [`AdamW`]. The defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay rate of the mean of the gradients.
    pub beta1: f64,
    /// Decay rate of the mean of the squared gradients.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Each step takes `lr * weight_decay` of a parameter away from it.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// The AdamW optimizer.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    parameters: Vec<Parameter>,
    steps: i32,
}

/// A parameter and what the optimizer knows of it.
#[derive(Debug)]
struct Parameter {
    value: Tensor,
    /// Running mean of the gradient.
    mean: Tensor,
    /// Running mean of the squared gradient.
    mean_square: Tensor,
}

impl AdamW {
    /// An optimizer of `parameters`, which are shared with the model.
    ///
    /// # Errors
    /// Whatever libtorch refuses, for want of memory for example.
    pub fn new(parameters: Vec<Tensor>, config: AdamWConfig) -> Result<Self, TchError> {
        let parameters = parameters
            .into_iter()
            .map(|value| {
                let (mean, mean_square) = tch::no_grad(|| -> Result<_, TchError> {
                    Ok((value.f_zeros_like()?, value.f_zeros_like()?))
                })?;
                Ok(Parameter { value, mean, mean_square })
            })
            .collect::<Result<_, TchError>>()?;
        Ok(Self { config, parameters, steps: 0 })
    }

    /// Steps taken so far.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// For each parameter the running means of its gradient and of its squared
    /// gradient, of the parameter's shape.
    pub fn state(&self) -> impl Iterator<Item = (&Tensor, &Tensor)> {
        self.parameters.iter().map(|parameter| (&parameter.mean, &parameter.mean_square))
    }

    /// Sets all gradients to zero.
    pub fn zero_grad(&mut self) {
        for parameter in &mut self.parameters {
            parameter.value.zero_grad();
        }
    }

    /// Changes every parameter that has a gradient by one step.
    ///
    /// # Errors
    /// Whatever libtorch refuses.
    pub fn step(&mut self) -> Result<(), TchError> {
        let _no_grad = tch::no_grad_guard();
        self.steps += 1;
        let AdamWConfig { lr, beta1, beta2, epsilon, weight_decay } = self.config;
        let correction1 = 1.0 - beta1.powi(self.steps);
        let correction2 = (1.0 - beta2.powi(self.steps)).sqrt();
        for Parameter { value, mean, mean_square } in &mut self.parameters {
            let gradient = value.f_grad()?;
            if !gradient.defined() {
                continue;
            }
            let _ = value.f_mul_scalar_(1.0 - lr * weight_decay)?;
            let _ = mean.f_lerp_(&gradient, 1.0 - beta1)?;
            let square = gradient.f_square()?.f_mul_scalar_(1.0 - beta2)?;
            let _ = mean_square.f_mul_scalar_(beta2)?.f_add_(&square)?;
            let mut denominator = mean_square.f_sqrt()?;
            let denominator = denominator.f_div_scalar_(correction2)?.f_add_scalar_(epsilon)?;
            let change = mean.f_div(&denominator)?.f_mul_scalar_(lr / correction1)?;
            let _ = value.f_sub_(&change)?;
        }
        Ok(())
    }
}
