//! AdamW (Loshchilov and Hutter 2019, *Decoupled Weight Decay Regularization*,
//! algorithm 2), over tensors of our own: its state can be read and saved.

use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use crate::evaluate::scalar;

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

/// Numbers of a parameter that are changed at a time: a parameter of more is
/// taken in pieces, so that what a step reads and writes stays in the cache of a
/// core through all its operations.
const PIECE: i64 = 1 << 16;

/// How a parameter is treated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Treatment {
    /// Whether weight decay takes from it.
    pub decays: bool,
    /// Its learning rate over that of the optimizer.
    pub lr_factor: f64,
}

impl Default for Treatment {
    /// With decay, and at the optimizer's own rate.
    fn default() -> Self {
        Self { decays: true, lr_factor: 1.0 }
    }
}

/// A parameter and what the optimizer knows of it.
#[derive(Debug)]
struct Parameter {
    value: Tensor,
    treatment: Treatment,
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
        Self::with(parameters.into_iter().map(|value| (value, Treatment::default())), config)
    }

    /// As [`AdamW::new`], saying for each parameter how it is treated.
    ///
    /// # Errors
    /// As [`AdamW::new`].
    pub fn with(
        parameters: impl IntoIterator<Item = (Tensor, Treatment)>,
        config: AdamWConfig,
    ) -> Result<Self, TchError> {
        let parameters = parameters
            .into_iter()
            .map(|(value, treatment)| {
                let (mean, mean_square) = tch::no_grad(|| -> Result<_, TchError> {
                    Ok((value.f_zeros_like()?, value.f_zeros_like()?))
                })?;
                Ok(Parameter { value, treatment, mean, mean_square })
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

    /// Divides all gradients by the factor that the loss was multiplied with, and
    /// says whether they are numbers then. To know, it waits for the device.
    ///
    /// # Errors
    /// Whatever libtorch refuses.
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
    ///
    /// # Errors
    /// Whatever libtorch refuses.
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
    ///
    /// # Errors
    /// Whatever libtorch refuses.
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
    ///
    /// # Errors
    /// Whatever libtorch refuses.
    pub fn step(&mut self) -> Result<(), TchError> {
        let _no_grad = tch::no_grad_guard();
        self.steps += 1;
        for Parameter { value, treatment, mean, mean_square } in &mut self.parameters {
            let gradient = value.f_grad()?;
            if !gradient.defined() {
                continue;
            }
            let config = AdamWConfig {
                lr: self.config.lr * treatment.lr_factor,
                weight_decay: if treatment.decays { self.config.weight_decay } else { 0.0 },
                ..self.config
            };
            let update = Update { config, steps: self.steps };
            let rows = value.size().first().copied().unwrap_or(0);
            let at_a_time = rows * PIECE / (value.numel() as i64).max(1);
            if at_a_time >= rows || at_a_time == 0 || !value.is_contiguous() {
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
mod tests {
    use serde_json::Value;
    use tch::Device;

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
    fn gradients_are_unscaled_and_looked_at() {
        let (one, other) = (drawn(&[3]), drawn(&[2]));
        let both = vec![one.shallow_clone(), other.shallow_clone()];
        let mut optimizer = AdamW::new(both, AdamWConfig::default()).unwrap();
        assert!(optimizer.unscale(8.0).unwrap());
        (&one * 24.0).sum(Kind::Float).backward();
        assert!(optimizer.unscale(8.0).unwrap());
        assert_eq!(one.grad(), Tensor::from_slice(&[3f32; 3]));
        (&other * f64::INFINITY).sum(Kind::Float).backward();
        assert!(!optimizer.unscale(8.0).unwrap());
    }

    #[test]
    fn a_parameter_without_a_gradient_stays() {
        let parameter = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let mut optimizer =
            AdamW::new(vec![parameter.shallow_clone()], AdamWConfig::default()).unwrap();
        optimizer.step().unwrap();
        assert_eq!(parameter.sum(Kind::Float).double_value(&[]), 3.0);
    }

    /// A parameter with random numbers, and a step with a random gradient.
    fn drawn(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu)).set_requires_grad(true)
    }

    fn step(optimizer: &mut AdamW, parameter: &Tensor, gradient: &Tensor) {
        optimizer.zero_grad().unwrap();
        (parameter * gradient).sum(Kind::Float).backward();
        optimizer.step().unwrap();
    }

    #[test]
    fn in_pieces_a_step_is_the_same() {
        tch::manual_seed(3);
        // Of whole pieces, of one that is shorter, and of rows longer than a piece.
        for size in [[4 * PIECE / 64, 64], [1001, 193], [3, PIECE + 1]] {
            let whole = drawn(&size);
            // What is not contiguous is not cut.
            let turned = whole.detach().tr().contiguous().tr().set_requires_grad(true);
            assert!(!turned.is_contiguous());
            let of = |value: &Tensor| {
                AdamW::new(vec![value.shallow_clone()], AdamWConfig::default()).unwrap()
            };
            let (mut in_pieces, mut plain) = (of(&whole), of(&turned));
            for _ in 0..3 {
                let gradient = Tensor::randn(size, (Kind::Float, Device::Cpu));
                step(&mut in_pieces, &whole, &gradient);
                step(&mut plain, &turned, &gradient);
            }
            assert_eq!(whole, turned, "{size:?}");
            for (ours, theirs) in in_pieces.state().zip(plain.state()) {
                assert_eq!(ours, theirs, "{size:?}");
            }
        }
    }

    #[test]
    fn a_restored_optimizer_goes_on_as_if_nothing_happened() {
        tch::manual_seed(4);
        let one = drawn(&[5, 7]);
        let mut first = AdamW::new(vec![one.shallow_clone()], AdamWConfig::default()).unwrap();
        let gradients: Vec<Tensor> =
            (0..6).map(|_| Tensor::randn([5, 7], (Kind::Float, Device::Cpu))).collect();
        for gradient in &gradients[..3] {
            step(&mut first, &one, gradient);
        }
        let other = one.detach().copy().set_requires_grad(true);
        let mut second = AdamW::new(vec![other.shallow_clone()], AdamWConfig::default()).unwrap();
        second.restore(first.steps(), first.state()).unwrap();
        for gradient in &gradients[3..] {
            step(&mut first, &one, gradient);
            step(&mut second, &other, gradient);
        }
        assert_eq!(one, other);
        assert_eq!((first.steps(), second.steps()), (6, 6));
        let wrong = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu));
        assert!(second.restore(1, [(&wrong, &wrong)]).is_err());
    }

    #[test]
    fn weight_decay_and_rate_are_as_set() {
        let (decayed, kept) = (drawn(&[3]), drawn(&[3]));
        let before = [decayed.detach().copy(), kept.detach().copy()];
        let config = AdamWConfig { lr: 9.0, weight_decay: 0.5, ..AdamWConfig::default() };
        let without_decay = Treatment { decays: false, ..Treatment::default() };
        let all = [
            (decayed.shallow_clone(), Treatment::default()),
            (kept.shallow_clone(), without_decay),
        ];
        let mut optimizer = AdamW::with(all, config).unwrap();
        optimizer.set_lr(0.1);
        // Without a gradient to follow, decay is all that happens.
        ((&decayed + &kept) * 0.0).sum(Kind::Float).backward();
        optimizer.step().unwrap();
        assert!(decayed.detach().allclose(&(&before[0] * 0.95), 1e-6, 0.0, false));
        assert_eq!(kept.detach(), before[1]);
    }
    #[test]
    fn a_rate_of_its_own_is_that_of_an_optimizer_of_its_own() {
        tch::manual_seed(5);
        let slow = drawn(&[4, 3]);
        let fast = slow.detach().copy().set_requires_grad(true);
        let alone = slow.detach().copy().set_requires_grad(true);
        let config = AdamWConfig { lr: 0.01, ..AdamWConfig::default() };
        let faster = Treatment { lr_factor: 16.0, ..Treatment::default() };
        let both = [(slow.shallow_clone(), Treatment::default()), (fast.shallow_clone(), faster)];
        let mut ours = AdamW::with(both, config).unwrap();
        let config = AdamWConfig { lr: 0.16, ..config };
        let mut theirs = AdamW::new(vec![alone.shallow_clone()], config).unwrap();
        for _ in 0..4 {
            let gradient = Tensor::randn([4, 3], (Kind::Float, Device::Cpu));
            ours.zero_grad().unwrap();
            ((&slow + &fast) * &gradient).sum(Kind::Float).backward();
            ours.step().unwrap();
            step(&mut theirs, &alone, &gradient);
        }
        assert_eq!(fast, alone);
        assert_ne!(slow, alone);
    }

    #[test]
    fn gradients_are_clipped_together() {
        let (one, other) = (drawn(&[2]), drawn(&[1]));
        let both = vec![one.shallow_clone(), other.shallow_clone()];
        let mut optimizer = AdamW::new(both, AdamWConfig::default()).unwrap();
        assert_eq!(optimizer.clip(1.0).unwrap(), 0.0);
        let (three, four) = (Tensor::from_slice(&[3f32, 0.0]), Tensor::from_slice(&[4f32]));
        ((&one * three).sum(Kind::Float) + (&other * four).sum(Kind::Float)).backward();
        assert_eq!(optimizer.clip(6.0).unwrap(), 5.0);
        assert_eq!(other.grad(), Tensor::from_slice(&[4f32]));
        assert_eq!(optimizer.clip(1.0).unwrap(), 5.0);
        assert!(one.grad().allclose(&Tensor::from_slice(&[0.6f32, 0.0]), 1e-6, 0.0, false));
        assert!(other.grad().allclose(&Tensor::from_slice(&[0.8f32]), 1e-6, 0.0, false));
    }
}
