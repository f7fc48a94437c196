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
    ///
    /// # Errors
    /// Whatever libtorch refuses.
    pub fn zero_grad(&mut self) -> Result<(), TchError> {
        for parameter in &self.parameters {
            let mut gradient = parameter.value.f_grad()?;
            if gradient.defined() {
                let _ = gradient.f_detach_()?.f_zero_()?;
            }
        }
        Ok(())
    }

    /// Changes every parameter that has a gradient by one step, with the rounding
    /// of PyTorch's `AdamW` on the CPU.
    ///
    /// # Errors
    /// Whatever libtorch refuses.
    pub fn step(&mut self) -> Result<(), TchError> {
        let _no_grad = tch::no_grad_guard();
        self.steps += 1;
        let AdamWConfig { lr, beta1, beta2, epsilon, weight_decay } = self.config;
        let steps = f64::from(self.steps);
        let (correction1, correction2) = (1.0 - beta1.powf(steps), 1.0 - beta2.powf(steps));
        for Parameter { value, mean, mean_square } in &mut self.parameters {
            let gradient = value.f_grad()?;
            if !gradient.defined() {
                continue;
            }
            let _ = value.f_mul_scalar_(1.0 - lr * weight_decay)?;
            let _ = mean.f_lerp_(&gradient, 1.0 - beta1)?;
            let part = gradient.f_mul_scalar(1.0 - beta2)?;
            let _ = mean_square.f_mul_scalar_(beta2)?.f_addcmul_(&part, &gradient)?;
            let mut root = mean_square.f_sqrt()?;
            let denominator = root.f_div_scalar_(correction2.sqrt())?.f_add_scalar_(epsilon)?;
            let change = mean.f_mul_scalar(-lr / correction1)?;
            let _ = value.f_addcdiv_(&change, &denominator)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tch::{Device, Kind};

    use super::*;

    /// Made by `tests/fixtures/make_linear_golden.py` with PyTorch's AdamW.
    const GOLDEN: &str = include_str!("../../../tests/fixtures/lora_linear.json");

    fn tensor(value: &Value) -> Tensor {
        let rows = value.as_array().unwrap().iter().map(|row| row.as_array().unwrap());
        let values: Vec<f32> = rows.flatten().map(|value| value.as_f64().unwrap() as f32).collect();
        Tensor::from_slice(&values).view([2, 3])
    }

    #[track_caller]
    fn close(ours: &Tensor, theirs: &Value, what: &str) {
        let difference = (ours - tensor(theirs)).abs().max().double_value(&[]);
        assert!(difference < 1e-6, "{what} is off by {difference}");
    }

    #[test]
    fn five_steps_equal_pytorch() {
        let golden: Value = serde_json::from_str(GOLDEN).unwrap();
        let golden = &golden["adamw"];
        let setting = |name: &str| golden[name].as_f64().unwrap();
        let config = AdamWConfig {
            lr: setting("lr"),
            weight_decay: setting("weight_decay"),
            ..AdamWConfig::default()
        };
        assert_eq!(golden["betas"], serde_json::json!([config.beta1, config.beta2]));
        assert_eq!(setting("eps"), config.epsilon);
        let parameter = tensor(&golden["start"]).set_requires_grad(true);
        let mut optimizer = AdamW::new(vec![parameter.shallow_clone()], config).unwrap();
        let steps = golden["steps"].as_array().unwrap();
        for step in steps {
            optimizer.zero_grad().unwrap();
            (&parameter * tensor(&step["grad"])).sum(Kind::Float).backward();
            optimizer.step().unwrap();
            close(&parameter.detach(), &step["parameter"], "the parameter");
            let (mean, mean_square) = optimizer.state().next().unwrap();
            close(mean, &step["exp_avg"], "the mean gradient");
            close(mean_square, &step["exp_avg_sq"], "the mean squared gradient");
        }
        assert_eq!(optimizer.steps() as usize, steps.len());
    }

    #[test]
    fn a_parameter_without_a_gradient_stays() {
        let parameter = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let mut optimizer =
            AdamW::new(vec![parameter.shallow_clone()], AdamWConfig::default()).unwrap();
        optimizer.step().unwrap();
        assert_eq!(parameter.sum(Kind::Float).double_value(&[]), 3.0);
    }
}
