//! AdamW (Loshchilov and Hutter 2019, *Decoupled Weight Decay Regularization*,
//! algorithm 2), over tensors of our own: its state can be read and saved.

use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use crate::training::scalar::scalar;

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

/// Numbers of a parameter that are changed at a time: on the CPU a parameter of more
/// is taken in pieces, so that what a step reads and writes stays in the cache of a
/// core through all its operations. A GPU would only have more operations to launch.
const PIECE: i64 = 1 << 16;

/// Optimizer settings of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParameterGroup {
    /// Whether weight decay applies.
    pub decays: bool,
    /// Learning rate relative to the optimizer's.
    pub lr_factor: f64,
}

impl Default for ParameterGroup {
    /// With decay, and at the optimizer's own rate.
    fn default() -> Self {
        Self { decays: true, lr_factor: 1.0 }
    }
}

/// A parameter and what the optimizer knows of it.
#[derive(Debug)]
struct Parameter {
    value: Tensor,
    group: ParameterGroup,
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
        Self::with(parameters.into_iter().map(|value| (value, ParameterGroup::default())), config)
    }

    /// As [`AdamW::new`], with the settings of each parameter.
    ///
    /// # Errors
    /// As [`AdamW::new`].
    pub fn with(
        parameters: impl IntoIterator<Item = (Tensor, ParameterGroup)>,
        config: AdamWConfig,
    ) -> Result<Self, TchError> {
        let parameters = parameters
            .into_iter()
            .map(|(value, group)| {
                let (mean, mean_square) = tch::no_grad(|| -> Result<_, TchError> {
                    Ok((value.f_zeros_like()?, value.f_zeros_like()?))
                })?;
                Ok(Parameter { value, group, mean, mean_square })
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

    /// Sets the learning rate of the steps to come.
    pub fn set_lr(&mut self, lr: f64) {
        self.config.lr = lr;
    }

    /// Goes on from a saved state: the steps taken, and the running means that
    /// [`AdamW::state`] gave.
    ///
    /// # Errors
    /// Whatever libtorch refuses, a tensor of another shape for example.
    pub fn restore<'a>(
        &mut self,
        steps: i32,
        state: impl IntoIterator<Item = (&'a Tensor, &'a Tensor)>,
    ) -> Result<(), TchError> {
        let _no_grad = tch::no_grad_guard();
        self.steps = steps;
        for (parameter, (mean, mean_square)) in self.parameters.iter_mut().zip(state) {
            parameter.mean.f_copy_(mean)?;
            parameter.mean_square.f_copy_(mean_square)?;
        }
        Ok(())
    }

    /// Sets all gradients to zero.
    pub fn zero_grad(&mut self) -> Result<(), TchError> {
        for parameter in &self.parameters {
            let mut gradient = parameter.value.f_grad()?;
            if gradient.defined() {
                let _ = gradient.f_detach_()?.f_zero_()?;
            }
        }
        Ok(())
    }

    /// Divides all gradients by the factor that the loss was multiplied with, and
    /// says whether they are numbers then. To know, it waits for the device.
    pub fn unscale(&mut self, scale: f64) -> Result<bool, TchError> {
        let mut sums = Vec::new();
        for parameter in &self.parameters {
            let mut gradient = parameter.value.f_grad()?;
            if gradient.defined() {
                sums.push(gradient.f_mul_scalar_(scale.recip())?.f_sum(Kind::Float)?);
            }
        }
        if sums.is_empty() {
            return Ok(true);
        }
        let sum = Tensor::f_stack(&sums, 0)?.f_sum(Kind::Double)?;
        Ok(sum.f_double_value(&[])?.is_finite())
    }

    /// The first parameter, from 0, whose gradient has an element that is no finite
    /// number. To know, it waits for the device.
    pub fn first_gradient_without_numbers(&self) -> Result<Option<usize>, TchError> {
        for (number, parameter) in self.parameters.iter().enumerate() {
            let gradient = parameter.value.f_grad()?;
            if gradient.defined() && gradient.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Scales all gradients down to a common norm of at most `most` (Pascanu et al.
    /// 2013, *On the difficulty of training recurrent neural networks*, algorithm 1)
    /// and returns what it was; 0 where there is none. To know, it waits for the
    /// device.
    pub fn clip(&mut self, most: f64) -> Result<f64, TchError> {
        let _no_grad = tch::no_grad_guard();
        let (mut gradients, mut norms) = (Vec::new(), Vec::new());
        for parameter in &self.parameters {
            let gradient = parameter.value.f_grad()?;
            if gradient.defined() {
                norms.push(gradient.f_norm()?);
                gradients.push(gradient);
            }
        }
        if norms.is_empty() {
            return Ok(0.0);
        }
        let norm = scalar(&Tensor::f_stack(&norms, 0)?.f_norm()?)?;
        if norm > most {
            for gradient in &mut gradients {
                let _ = gradient.f_mul_scalar_(most / norm)?;
            }
        }
        Ok(norm)
    }

    /// Changes every parameter that has a gradient by one step, with the rounding
    /// of PyTorch's `AdamW` on the CPU.
    pub fn step(&mut self) -> Result<(), TchError> {
        let _no_grad = tch::no_grad_guard();
        self.steps += 1;
        for Parameter { value, group, mean, mean_square } in &mut self.parameters {
            let gradient = value.f_grad()?;
            if !gradient.defined() {
                continue;
            }
            let config = AdamWConfig {
                lr: self.config.lr * group.lr_factor,
                weight_decay: if group.decays { self.config.weight_decay } else { 0.0 },
                ..self.config
            };
            let update = Update { config, steps: self.steps };
            let rows = value.size().first().copied().unwrap_or(0);
            let at_a_time = rows * PIECE / (value.numel() as i64).max(1);
            let is_cuda = value.device().is_cuda();
            if is_cuda || at_a_time >= rows || at_a_time == 0 || !value.is_contiguous() {
                update.apply(value, &gradient, mean, mean_square)?;
                continue;
            }
            let mut first = 0;
            while first < rows {
                let count = at_a_time.min(rows - first);
                let piece = |whole: &Tensor| whole.f_narrow(0, first, count);
                let (mut value, gradient) = (piece(value)?, piece(&gradient)?);
                let (mut mean, mut mean_square) = (piece(mean)?, piece(mean_square)?);
                update.apply(&mut value, &gradient, &mut mean, &mut mean_square)?;
                first += count;
            }
        }
        Ok(())
    }
}

/// What a step does to every number of a parameter.
struct Update {
    config: AdamWConfig,
    /// Steps taken, this one included.
    steps: i32,
}

impl Update {
    fn apply(
        &self,
        value: &mut Tensor,
        gradient: &Tensor,
        mean: &mut Tensor,
        mean_square: &mut Tensor,
    ) -> Result<(), TchError> {
        let AdamWConfig { lr, beta1, beta2, epsilon, weight_decay } = self.config;
        let steps = f64::from(self.steps);
        let (correction1, correction2) = (1.0 - beta1.powf(steps), 1.0 - beta2.powf(steps));
        if weight_decay != 0.0 {
            let _ = value.f_mul_scalar_(1.0 - lr * weight_decay)?;
        }
        let _ = mean.f_lerp_(gradient, 1.0 - beta1)?;
        let part = gradient.f_mul_scalar(1.0 - beta2)?;
        let _ = mean_square.f_mul_scalar_(beta2)?.f_addcmul_(&part, gradient)?;
        let mut root = mean_square.f_sqrt()?;
        let denominator = root.f_div_scalar_(correction2.sqrt())?.f_add_scalar_(epsilon)?;
        let change = mean.f_mul_scalar(-lr / correction1)?;
        let _ = value.f_addcdiv_(&change, &denominator)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
