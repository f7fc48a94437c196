//! Gaussian error linear units (Hendrycks and Gimpel 2016).

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::error::{Error, check_length};
use crate::isa::Isa;
use crate::simd::{Simd, dispatch, math};

/// The GELU activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// The tanh approximation, GPT-2's `gelu_new`:
    /// `0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³)))`.
    Tanh,
    /// The exact function, `0.5 x (1 + erf(x / sqrt(2)))`.
    Erf,
}

impl Gelu {
    /// Computes `output = gelu(input)`, element by element.
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths differ.
    pub fn forward(self, isa: Isa, input: &[f32], output: &mut [f32]) -> Result<(), Error> {
        check_length("output of GELU", input.len(), output.len())?;
        // SAFETY: the lengths are equal.
        unsafe {
            match self {
                Self::Tanh => forward_tanh(isa, input, output),
                Self::Erf => forward_erf(isa, input, output),
            }
        }
        Ok(())
    }

    /// Multiplies `gradient`, of the output, by the derivative at `input`, which makes it the
    /// gradient of the input.
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths differ.
    pub fn backward(self, isa: Isa, input: &[f32], gradient: &mut [f32]) -> Result<(), Error> {
        check_length("gradient of GELU", input.len(), gradient.len())?;
        // SAFETY: the lengths are equal.
        unsafe {
            match self {
                Self::Tanh => backward_tanh(isa, input, gradient),
                Self::Erf => backward_erf(isa, input, gradient),
            }
        }
        Ok(())
    }
}

/// A function of lanes, and its derivative.
trait Function {
    /// # Safety
    /// The CPU has the instructions of `S`.
    unsafe fn value<S: Simd>(x: S::Vector) -> S::Vector;
    /// # Safety
    /// The CPU has the instructions of `S`.
    unsafe fn derivative<S: Simd>(x: S::Vector) -> S::Vector;
}

struct Tanh;

/// `2 sqrt(2 / pi)`: `0.5 (1 + tanh(z))` is the sigmoid of `2 z`.
const SLOPE: f32 = FRAC_2_SQRT_PI * 2.0 * FRAC_1_SQRT_2;
const CUBIC: f32 = SLOPE * 0.044_715;

impl Function for Tanh {
    #[inline(always)]
    unsafe fn value<S: Simd>(x: S::Vector) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe {
            let factor = S::mul_add(S::mul(x, x), S::splat(-CUBIC), S::splat(-SLOPE));
            S::div(x, S::add(S::splat(1.0), math::exp::<S>(S::mul(x, factor))))
        }
    }

    #[inline(always)]
    unsafe fn derivative<S: Simd>(x: S::Vector) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe {
            let square = S::mul(x, x);
            let factor = S::mul_add(square, S::splat(CUBIC), S::splat(SLOPE));
            // By the smaller of e^±2z: neither it overflows, nor 1 minus the sigmoid cancels.
            let tail = math::exp::<S>(S::sub(S::splat(0.0), S::abs(S::mul(x, factor))));
            let larger = S::div(S::splat(1.0), S::add(S::splat(1.0), tail));
            let smaller = S::mul(tail, larger);
            let sigmoid = S::select(x, smaller, larger);
            let inner = S::mul_add(square, S::splat(3.0 * CUBIC), S::splat(SLOPE));
            let slope = S::mul(x, S::mul(smaller, larger));
            S::mul_add(slope, inner, sigmoid)
        }
    }
}

struct Erf;

impl Erf {
    /// The normal distribution function.
    ///
    /// # Safety
    /// The CPU has the instructions of `S`.
    #[inline(always)]
    unsafe fn distribution<S: Simd>(x: S::Vector) -> S::Vector {
        // SAFETY: the caller's promise; `erfc` gets absolute values.
        unsafe {
            let z = S::mul(S::abs(x), S::splat(FRAC_1_SQRT_2));
            let tail = S::mul(S::splat(0.5), math::erfc::<S>(z));
            S::select(x, tail, S::sub(S::splat(1.0), tail))
        }
    }
}

impl Function for Erf {
    #[inline(always)]
    unsafe fn value<S: Simd>(x: S::Vector) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe { S::mul(x, Self::distribution::<S>(x)) }
    }

    #[inline(always)]
    unsafe fn derivative<S: Simd>(x: S::Vector) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe {
            let density = math::exp::<S>(S::mul(S::mul(x, x), S::splat(-0.5)));
            let density = S::mul(density, S::splat(FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * 0.5));
            S::mul_add(x, density, Self::distribution::<S>(x))
        }
    }
}

dispatch! {
    /// Slices of one length.
    unsafe fn forward_tanh(input: &[f32], output: &mut [f32]) = forward_kernel::<Tanh>
}
dispatch! {
    /// Slices of one length.
    unsafe fn forward_erf(input: &[f32], output: &mut [f32]) = forward_kernel::<Erf>
}
dispatch! {
    /// Slices of one length.
    unsafe fn backward_tanh(input: &[f32], gradient: &mut [f32]) = backward_kernel::<Tanh>
}
dispatch! {
    /// Slices of one length.
    unsafe fn backward_erf(input: &[f32], gradient: &mut [f32]) = backward_kernel::<Erf>
}

#[inline(always)]
unsafe fn forward_kernel<S: Simd, F: Function>(input: &[f32], output: &mut [f32]) {
    for at in (0..input.len()).step_by(S::LANES) {
        let rest = input.len() - at;
        // SAFETY: both slices have `rest` elements from `at`.
        unsafe {
            let value = F::value::<S>(S::load_first(input.as_ptr().add(at), rest));
            S::store_first(output.as_mut_ptr().add(at), value, rest);
        }
    }
}

#[inline(always)]
unsafe fn backward_kernel<S: Simd, F: Function>(input: &[f32], gradient: &mut [f32]) {
    for at in (0..input.len()).step_by(S::LANES) {
        let rest = input.len() - at;
        // SAFETY: both slices have `rest` elements from `at`.
        unsafe {
            let derivative = F::derivative::<S>(S::load_first(input.as_ptr().add(at), rest));
            let to = gradient.as_mut_ptr().add(at);
            S::store_first(to, S::mul(S::load_first(to, rest), derivative), rest);
        }
    }
}
