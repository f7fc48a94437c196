//! AdamW optimizer step.

use crate::error::{Error, check_length};
use crate::isa::Isa;
use crate::simd::{Simd, dispatch};

/// AdamW optimizer with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2), with the
/// order of operations of PyTorch's `AdamW`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay rate of the mean of the gradients.
    pub beta1: f64,
    /// Decay rate of the mean of the squared gradients.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Each step takes `learning_rate * weight_decay` of a parameter away from it.
    pub weight_decay: f64,
}

/// The state of parameters, slices of one length.
struct State<'a> {
    gradient: &'a [f32],
    parameter: &'a mut [f32],
    mean: &'a mut [f32],
    mean_square: &'a mut [f32],
}

/// Factors of a step, rounded once.
struct Factors {
    decay: f32,
    beta1_rest: f32,
    beta2: f32,
    beta2_rest: f32,
    correction2: f32,
    epsilon: f32,
    rate: f32,
}

impl AdamW {
    /// Changes `parameter` by one step along `gradient`, and updates the running `mean` of the
    /// gradient and `mean_square` of its square. `step` is the number of this step, from 1.
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths differ, [`Error::Setting`] for step 0.
    pub fn step(
        &self,
        isa: Isa,
        step: u32,
        gradient: &[f32],
        parameter: &mut [f32],
        mean: &mut [f32],
        mean_square: &mut [f32],
    ) -> Result<(), Error> {
        let length = parameter.len();
        check_length("gradient", length, gradient.len())?;
        check_length("mean of the gradient", length, mean.len())?;
        check_length("mean square of the gradient", length, mean_square.len())?;
        if step == 0 {
            return Err(Error::Setting { what: "optimizer step", expected: "at least 1", got: 0 });
        }
        let correction1 = 1.0 - self.beta1.powf(f64::from(step));
        let correction2 = 1.0 - self.beta2.powf(f64::from(step));
        let factors = Factors {
            decay: (1.0 - self.learning_rate * self.weight_decay) as f32,
            beta1_rest: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            beta2_rest: (1.0 - self.beta2) as f32,
            correction2: correction2.sqrt() as f32,
            epsilon: self.epsilon as f32,
            rate: (-self.learning_rate / correction1) as f32,
        };
        // SAFETY: the lengths are equal.
        unsafe { update(isa, &factors, State { gradient, parameter, mean, mean_square }) };
        Ok(())
    }
}

dispatch! {
    /// Slices of one length.
    unsafe fn update(factors: &Factors, state: State<'_>) = kernel
}

#[inline(always)]
unsafe fn kernel<S: Simd>(factors: &Factors, state: State<'_>) {
    let State { gradient, parameter, mean, mean_square } = state;
    for at in (0..gradient.len()).step_by(S::LANES) {
        let rest = gradient.len() - at;
        // SAFETY: all slices have `rest` elements from `at`; the CPU has the instructions.
        unsafe {
            let (parameter, mean, mean_square) = (
                parameter.as_mut_ptr().add(at),
                mean.as_mut_ptr().add(at),
                mean_square.as_mut_ptr().add(at),
            );
            let gradient = S::load_first(gradient.as_ptr().add(at), rest);
            let old = S::load_first(mean, rest);
            let first = S::mul_add(S::sub(gradient, old), S::splat(factors.beta1_rest), old);
            let square = S::mul(S::mul(gradient, S::splat(factors.beta2_rest)), gradient);
            let old = S::mul(S::load_first(mean_square, rest), S::splat(factors.beta2));
            let second = S::add(old, square);
            let deviation = S::div(S::sqrt(second), S::splat(factors.correction2));
            let update = S::div(first, S::add(deviation, S::splat(factors.epsilon)));
            let decayed = S::mul(S::load_first(parameter, rest), S::splat(factors.decay));
            S::store_first(mean, first, rest);
            S::store_first(mean_square, second, rest);
            S::store_first(parameter, S::mul_add(update, S::splat(factors.rate), decayed), rest);
        }
    }
}
