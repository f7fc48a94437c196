//! Layer normalization (Ba et al. 2016).

use crate::error::{Error, check_length, check_shape};
use crate::isa::Isa;
use crate::matrix::{Matrix, MatrixMut};
use crate::simd::{Simd, dispatch};

/// Layer normalization of the rows of a matrix: `(x - mean) / sqrt(variance + epsilon) * gamma +
/// beta` with the biased variance, as `torch.nn.LayerNorm`.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// Weight, `[width]`.
    pub gamma: &'a [f32],
    /// Bias, `[width]`.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// Statistics of a row, which the gradient needs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Mean.
    pub mean: f32,
    /// Reciprocal standard deviation, `1 / sqrt(variance + epsilon)`.
    pub rstd: f32,
}

impl LayerNorm<'_> {
    /// Normalizes `input`, `[rows, width]`, to `output` of the same shape, and keeps the
    /// `statistics` of each row.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Length`] or [`Error::Setting`] for buffers that do not fit.
    pub fn forward(
        &self,
        isa: Isa,
        input: &Matrix<'_>,
        output: &mut MatrixMut<'_>,
        statistics: &mut [Statistics],
    ) -> Result<(), Error> {
        let [rows, _] = self.check(input, statistics.len())?;
        check_shape("output of layer norm", input.shape(), output.shape())?;
        for (row, statistics) in (0..rows).zip(statistics) {
            let (input, output) = (input.row(row), output.row_mut(row));
            // SAFETY: all slices have the width of a row.
            *statistics = unsafe { forward(isa, self, input, output) };
        }
        Ok(())
    }

    /// Adds the gradient of the input to `input_gradient`, `[rows, width]`, given the gradient of
    /// the output and the input and `statistics` of [`LayerNorm::forward`].
    ///
    /// # Errors
    /// As [`LayerNorm::forward`].
    pub fn backward(
        &self,
        isa: Isa,
        input: &Matrix<'_>,
        statistics: &[Statistics],
        output_gradient: &Matrix<'_>,
        input_gradient: &mut MatrixMut<'_>,
    ) -> Result<(), Error> {
        let [rows, _] = self.check(input, statistics.len())?;
        check_shape("gradient of the output", input.shape(), output_gradient.shape())?;
        check_shape("gradient of the input", input.shape(), input_gradient.shape())?;
        output_gradient.check_row_major("column stride of the output gradient")?;
        for (row, statistics) in (0..rows).zip(statistics) {
            let (input, gradient) = (input.row(row), output_gradient.row(row));
            let input_gradient = input_gradient.row_mut(row);
            // SAFETY: all slices have the width of a row.
            unsafe { backward(isa, self.gamma, *statistics, input, gradient, input_gradient) };
        }
        Ok(())
    }

    fn check(&self, input: &Matrix<'_>, statistics: usize) -> Result<[usize; 2], Error> {
        let [rows, width] = input.shape();
        check_length("gamma", width, self.gamma.len())?;
        check_length("beta", width, self.beta.len())?;
        check_length("statistics", rows, statistics)?;
        input.check_row_major("column stride of the input")?;
        Ok([rows, width])
    }
}

dispatch! {
    /// Normalizes a row. All slices have one length.
    unsafe fn forward(norm: &LayerNorm<'_>, input: &[f32], output: &mut [f32]) -> Statistics
        = forward_kernel
}

#[inline(always)]
unsafe fn forward_kernel<S: Simd>(
    norm: &LayerNorm<'_>,
    input: &[f32],
    output: &mut [f32],
) -> Statistics {
    let width = input.len();
    let pointer = input.as_ptr();
    // SAFETY: all slices have `width` elements; the CPU has the instructions.
    unsafe {
        let mut sum = S::splat(0.0);
        for at in (0..width).step_by(S::LANES) {
            sum = S::add(sum, S::load_first(pointer.add(at), width - at));
        }
        let mean = S::sum(sum) / width as f32;
        let means = S::splat(mean);
        let mut squares = S::splat(0.0);
        let whole = width - width % S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            let difference = S::sub(S::load(pointer.add(at)), means);
            squares = S::mul_add(difference, difference, squares);
        }
        let rest = input[whole..].iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
        let variance = (S::sum(squares) + rest) / width as f32;
        let rstd = 1.0 / (variance + norm.epsilon).sqrt();
        for at in (0..width).step_by(S::LANES) {
            let rest = width - at;
            let x = S::load_first(pointer.add(at), rest);
            let gamma = S::load_first(norm.gamma.as_ptr().add(at), rest);
            let beta = S::load_first(norm.beta.as_ptr().add(at), rest);
            let value = S::mul_add(S::mul(S::sub(x, means), S::splat(rstd)), gamma, beta);
            S::store_first(output.as_mut_ptr().add(at), value, rest);
        }
        Statistics { mean, rstd }
    }
}

dispatch! {
    /// Adds the gradient of a row. All slices have one length.
    unsafe fn backward(
        gamma: &[f32],
        statistics: Statistics,
        input: &[f32],
        gradient: &[f32],
        input_gradient: &mut [f32],
    ) = backward_kernel
}

#[inline(always)]
unsafe fn backward_kernel<S: Simd>(
    gamma: &[f32],
    statistics: Statistics,
    input: &[f32],
    gradient: &[f32],
    input_gradient: &mut [f32],
) {
    let width = input.len();
    // SAFETY: all slices have `width` elements; the CPU has the instructions.
    unsafe {
        let (mean, rstd) = (S::splat(statistics.mean), S::splat(statistics.rstd));
        let (mut sum, mut product) = (S::splat(0.0), S::splat(0.0));
        for at in (0..width).step_by(S::LANES) {
            let rest = width - at;
            // Lanes behind the end have a scaled gradient of 0.
            let scaled = S::mul(
                S::load_first(gradient.as_ptr().add(at), rest),
                S::load_first(gamma.as_ptr().add(at), rest),
            );
            let x = S::load_first(input.as_ptr().add(at), rest);
            sum = S::add(sum, scaled);
            product = S::mul_add(scaled, S::mul(S::sub(x, mean), rstd), product);
        }
        let sum = S::splat(S::sum(sum) / width as f32);
        let product = S::splat(S::sum(product) / width as f32);
        for at in (0..width).step_by(S::LANES) {
            let rest = width - at;
            let scaled = S::mul(
                S::load_first(gradient.as_ptr().add(at), rest),
                S::load_first(gamma.as_ptr().add(at), rest),
            );
            let x = S::load_first(input.as_ptr().add(at), rest);
            let normalized = S::mul(S::sub(x, mean), rstd);
            let centered = S::sub(S::sub(scaled, sum), S::mul(normalized, product));
            let to = input_gradient.as_mut_ptr().add(at);
            S::store_first(to, S::mul_add(centered, rstd, S::load_first(to, rest)), rest);
        }
    }
}
