//! AdamW optimizer (Loshchilov and Hutter 2019, *Decoupled Weight Decay Regularization*,
//! algorithm 2). Unlike libtorch's, its state can be read and saved.

use gpt2_model::{
    Arithmetic,
    tensor::{float_slice, float_slice_mut},
};
use kernels::Isa;
use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use crate::{error::Result, training::scalar::scalar};

/// Settings of [`AdamW`]. The defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay rate of the first moment, the running mean of the gradients.
    pub beta1: f64,
    /// Decay rate of the second moment, the running mean of the squared gradients.
    pub beta2: f64,
    /// Term added to the denominator for numerical stability.
    pub epsilon: f64,
    /// Weight decay: each step multiplies a parameter by `1 - lr * weight_decay`.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// AdamW optimizer.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    parameters: Vec<Parameter>,
    steps: i32,
    arithmetic: Arithmetic,
}

/// Elements of a parameter that are updated at a time on the CPU, so that a step's operands
/// stay in the cache of a core. On a GPU, chunks would only add kernel launches.
const CHUNK: i64 = 1 << 16;

/// Parameter group: optimizer settings of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParameterGroup {
    /// True if weight decay applies.
    pub decays: bool,
    /// Learning rate relative to the optimizer's.
    pub lr_factor: f64,
}

impl Default for ParameterGroup {
    /// With weight decay, at the optimizer's learning rate.
    fn default() -> Self {
        Self { decays: true, lr_factor: 1.0 }
    }
}

/// A parameter and its optimizer state.
#[derive(Debug)]
struct Parameter {
    value: Tensor,
    group: ParameterGroup,
    /// First moment: running mean of the gradient.
    mean: Tensor,
    /// Second moment: running mean of the squared gradient.
    mean_square: Tensor,
}

impl AdamW {
    /// Creates an optimizer of `parameters`, which are shared with the model.
    ///
    /// # Errors
    /// Any libtorch error, for example if memory runs out.
    pub fn new(parameters: Vec<Tensor>, config: AdamWConfig) -> Result<Self> {
        Self::with(parameters.into_iter().map(|value| (value, ParameterGroup::default())), config)
    }

    /// As [`AdamW::new`], with parameter groups.
    ///
    /// # Errors
    /// As [`AdamW::new`].
    pub fn with(
        parameters: impl IntoIterator<Item = (Tensor, ParameterGroup)>,
        config: AdamWConfig,
    ) -> Result<Self> {
        let parameters = parameters
            .into_iter()
            .map(|(value, group)| {
                let (mean, mean_square) = tch::no_grad(|| -> Result<_, TchError> {
                    Ok((value.f_zeros_like()?, value.f_zeros_like()?))
                })?;
                Ok(Parameter { value, group, mean, mean_square })
            })
            .collect::<Result<_, TchError>>()?;
        Ok(Self { config, parameters, steps: 0, arithmetic: Arithmetic::default() })
    }

    /// Sets the arithmetic. With [`Arithmetic::Kernels`], the project's kernels compute float32
    /// parameters on the CPU, which differs from libtorch in rounding only.
    #[must_use]
    pub fn with_arithmetic(self, arithmetic: Arithmetic) -> Self {
        Self { arithmetic, ..self }
    }

    fn uses_kernels(&self) -> bool {
        self.arithmetic == Arithmetic::Kernels
    }

    /// The elements of a gradient that the kernels compute.
    fn kernel_slice<'a>(&self, gradient: &'a Tensor) -> Option<&'a [f32]> {
        self.uses_kernels().then(|| float_slice(gradient))?
    }

    /// Gradients of all parameters that have one, with the number of the parameter; for the kernels,
    /// as they lie in memory.
    pub(super) fn gradients(&self) -> Result<Vec<(usize, Tensor)>> {
        let mut gradients = Vec::new();
        for (number, parameter) in self.parameters.iter().enumerate() {
            let gradient = parameter.value.f_grad()?;
            if gradient.defined() {
                let is_turned = self.uses_kernels() && is_turned(&gradient);
                gradients.push((number, turned(&gradient, is_turned)?));
            }
        }
        Ok(gradients)
    }

    /// Number of steps taken.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// First and second moment of each parameter, in its shape.
    pub fn state(&self) -> impl Iterator<Item = (&Tensor, &Tensor)> {
        self.parameters.iter().map(|parameter| (&parameter.mean, &parameter.mean_square))
    }

    /// Sets the learning rate of the following steps.
    pub fn set_lr(&mut self, lr: f64) {
        self.config.lr = lr;
    }

    /// Restores a saved state: the number of steps, and the moments of [`AdamW::state`].
    ///
    /// # Errors
    /// Any libtorch error, for example for a tensor of another shape.
    pub fn restore<'a>(
        &mut self,
        steps: i32,
        state: impl IntoIterator<Item = (&'a Tensor, &'a Tensor)>,
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        self.steps = steps;
        for (parameter, (mean, mean_square)) in self.parameters.iter_mut().zip(state) {
            parameter.mean.f_copy_(mean)?;
            parameter.mean_square.f_copy_(mean_square)?;
        }
        Ok(())
    }

    /// Sets all gradients to zero.
    pub fn zero_grad(&mut self) -> Result<()> {
        for parameter in &self.parameters {
            let mut gradient = parameter.value.f_grad()?;
            if gradient.defined() {
                let _ = gradient.f_detach_()?;
            }
        }
        let _no_grad = tch::no_grad_guard();
        for (_, mut gradient) in self.gradients()? {
            match float_slice_mut(&mut gradient) {
                // Threads of libtorch would have to wait for each other at each gradient.
                Some(values) if self.uses_kernels() => values.fill(0.0),
                _ => drop(gradient.f_zero_()?),
            }
        }
        Ok(())
    }

    /// Divides all gradients by the loss scale and returns whether they are finite. Waits for
    /// the device.
    pub fn unscale(&mut self, scale: f64) -> Result<bool> {
        let mut sums = Vec::new();
        for (_, mut gradient) in self.gradients()? {
            sums.push(gradient.f_mul_scalar_(scale.recip())?.f_sum(Kind::Float)?);
        }
        if sums.is_empty() {
            return Ok(true);
        }
        let sum = Tensor::f_stack(&sums, 0)?.f_sum(Kind::Double)?;
        Ok(sum.f_double_value(&[])?.is_finite())
    }

    /// Index of the first parameter with a NaN or infinite gradient. Waits for the device.
    pub fn first_nonfinite_gradient(&self) -> Result<Option<usize>> {
        for (number, gradient) in self.gradients()? {
            let is_finite = match self.kernel_slice(&gradient) {
                Some(values) => kernels::is_finite(values),
                None => gradient.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0,
            };
            if !is_finite {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Clips all gradients to a total norm of at most `max_norm` (Pascanu et al. 2013, *On the
    /// difficulty of training recurrent neural networks*, algorithm 1). Returns the norm before
    /// clipping, 0 without gradients. Waits for the device.
    pub fn clip(&mut self, max_norm: f64) -> Result<f64> {
        let _no_grad = tch::no_grad_guard();
        let mut gradients: Vec<Tensor> =
            self.gradients()?.into_iter().map(|(_, gradient)| gradient).collect();
        if gradients.is_empty() {
            return Ok(0.0);
        }
        let slices: Option<Vec<_>> =
            gradients.iter().map(|gradient| self.kernel_slice(gradient)).collect();
        let norm = match slices {
            Some(slices) => slices.into_iter().map(kernels::sum_of_squares).sum::<f64>().sqrt(),
            None => {
                let norms = gradients.iter().map(Tensor::f_norm).collect::<Result<Vec<_>, _>>()?;
                scalar(&Tensor::f_stack(&norms, 0)?.f_norm()?)?
            }
        };
        if norm > max_norm {
            for gradient in &mut gradients {
                let _ = gradient.f_mul_scalar_(max_norm / norm)?;
            }
        }
        Ok(norm)
    }

    /// Updates every parameter that has a gradient, with the rounding of PyTorch's `AdamW` on
    /// the CPU unless the kernels compute it.
    pub fn step(&mut self) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        self.steps += 1;
        let uses_kernels = self.uses_kernels();
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
            if uses_kernels && update.apply_kernel(value, &gradient, mean, mean_square)? {
                continue;
            }
            let rows = value.size().first().copied().unwrap_or(0);
            let rows_per_chunk = rows * CHUNK / (value.numel() as i64).max(1);
            let is_cuda = value.device().is_cuda();
            if is_cuda || rows_per_chunk >= rows || rows_per_chunk == 0 || !value.is_contiguous() {
                update.apply(value, &gradient, mean, mean_square)?;
                continue;
            }
            let mut first = 0;
            while first < rows {
                let count = rows_per_chunk.min(rows - first);
                let chunk = |whole: &Tensor| whole.f_narrow(0, first, count);
                let (mut value, gradient) = (chunk(value)?, chunk(&gradient)?);
                let (mut mean, mut mean_square) = (chunk(mean)?, chunk(mean_square)?);
                update.apply(&mut value, &gradient, &mut mean, &mut mean_square)?;
                first += count;
            }
        }
        Ok(())
    }
}

/// Returns whether the transpose of a matrix is contiguous, but not the matrix, as of the matrices
/// of new adapters.
fn is_turned(tensor: &Tensor) -> bool {
    tensor.dim() == 2 && !tensor.is_contiguous()
}

/// The transpose of a matrix that is turned.
fn turned(tensor: &Tensor, is_turned: bool) -> Result<Tensor, TchError> {
    if is_turned { tensor.f_tr() } else { Ok(tensor.shallow_clone()) }
}

/// Update of the elements of a parameter.
struct Update {
    config: AdamWConfig,
    /// Number of steps, including this one.
    steps: i32,
}

impl Update {
    /// Returns false, without a change, for tensors that have no slices.
    fn apply_kernel(
        &self,
        value: &Tensor,
        gradient: &Tensor,
        mean: &Tensor,
        mean_square: &Tensor,
    ) -> Result<bool> {
        let is_turned = is_turned(value);
        let as_it_lies = |tensor| turned(tensor, is_turned);
        let (mut value, gradient) = (as_it_lies(value)?, as_it_lies(gradient)?);
        let (mut mean, mut mean_square) = (as_it_lies(mean)?, as_it_lies(mean_square)?);
        let (Some(value), Some(gradient), Some(mean), Some(mean_square)) = (
            float_slice_mut(&mut value),
            float_slice(&gradient),
            float_slice_mut(&mut mean),
            float_slice_mut(&mut mean_square),
        ) else {
            return Ok(false);
        };
        let AdamWConfig { lr, beta1, beta2, epsilon, weight_decay } = self.config;
        let kernel = kernels::AdamW { learning_rate: lr, beta1, beta2, epsilon, weight_decay };
        kernel
            .step(Isa::detect(), self.steps.unsigned_abs(), gradient, value, mean, mean_square)
            .map_err(gpt2_model::Error::from)?;
        Ok(true)
    }

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
        let weighted = gradient.f_mul_scalar(1.0 - beta2)?;
        let _ = mean_square.f_mul_scalar_(beta2)?.f_addcmul_(&weighted, gradient)?;
        let mut root = mean_square.f_sqrt()?;
        let denominator = root.f_div_scalar_(correction2.sqrt())?.f_add_scalar_(epsilon)?;
        let change = mean.f_mul_scalar(-lr / correction1)?;
        let _ = value.f_addcdiv_(&change, &denominator)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
