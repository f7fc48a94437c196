//! Cross entropy of logits with class weights.

use crate::error::{Error, check_length, check_shape};
use crate::isa::Isa;
use crate::matrix::{Matrix, MatrixMut};
use crate::simd::{Simd, dispatch, math};

/// Cross entropy of rows of logits, `[rows, classes]`, and their target classes, as
/// `torch.nn.CrossEntropyLoss`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy<'a> {
    /// Weight of each class, `[classes]`; 1 without.
    pub class_weights: Option<&'a [f32]>,
}

impl CrossEntropy<'_> {
    /// Returns the sum of the weights of the targets. PyTorch's mean loss is the sum of
    /// [`CrossEntropy::forward`] divided by it.
    ///
    /// # Errors
    /// [`Error::Target`] for a target without a weight.
    pub fn total_weight(&self, targets: &[usize]) -> Result<f64, Error> {
        let Some(weights) = self.class_weights else { return Ok(targets.len() as f64) };
        let mut total = 0.0;
        for (row, &target) in targets.iter().enumerate() {
            let classes = weights.len();
            let weight = weights.get(target).ok_or(Error::Target { row, target, classes })?;
            total += f64::from(*weight);
        }
        Ok(total)
    }

    /// Returns the sum of the weighted losses of the rows. With `gradient`, `[rows, classes]`,
    /// writes `factor` times the gradient of that sum: the reciprocal total weight makes it the
    /// gradient of the mean.
    ///
    /// # Errors
    /// [`Error::Target`] for a target that the logits do not have; [`Error::Shape`],
    /// [`Error::Length`] or [`Error::Setting`] for buffers that do not fit.
    pub fn forward(
        &self,
        isa: Isa,
        logits: &Matrix<'_>,
        targets: &[usize],
        factor: f32,
        mut gradient: Option<&mut MatrixMut<'_>>,
    ) -> Result<f64, Error> {
        let [rows, classes] = logits.shape();
        check_length("targets", rows, targets.len())?;
        logits.check_row_major("column stride of the logits")?;
        if let Some(weights) = self.class_weights {
            check_length("class weights", classes, weights.len())?;
        }
        if let Some(gradient) = &gradient {
            check_shape("gradient of the logits", logits.shape(), gradient.shape())?;
        }
        let misplaced = targets.iter().enumerate().find(|&(_, &target)| target >= classes);
        if let Some((row, &target)) = misplaced {
            return Err(Error::Target { row, target, classes });
        }
        let mut loss = 0.0;
        for (row, &target) in targets.iter().enumerate() {
            let weight = self.class_weights.map_or(1.0, |weights| weights[target]);
            let logits = logits.row(row);
            // SAFETY: the function reads the row alone.
            let log_sum = unsafe { log_sum_exp(isa, logits) };
            loss += f64::from(weight) * (log_sum - f64::from(logits[target]));
            if let Some(gradient) = &mut gradient {
                let gradient = gradient.row_mut(row);
                // SAFETY: the gradient has the length of the row.
                unsafe { softmax(isa, logits, log_sum as f32, factor * weight, gradient) };
                gradient[target] -= factor * weight;
            }
        }
        Ok(loss)
    }
}

dispatch! {
    /// The logarithm of the sum of the exponentials of a row.
    unsafe fn log_sum_exp(row: &[f32]) -> f64 = log_sum_exp_kernel
}

#[inline(always)]
unsafe fn log_sum_exp_kernel<S: Simd>(row: &[f32]) -> f64 {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let whole = row.len() - row.len() % S::LANES;
    // SAFETY: vectors lie within the row; the CPU has the instructions.
    unsafe {
        let mut sum = S::splat(0.0);
        for at in (0..whole).step_by(S::LANES) {
            let x = S::load(row.as_ptr().add(at));
            sum = S::add(sum, math::exp::<S>(S::sub(x, S::splat(top))));
        }
        let rest: f64 = row[whole..].iter().map(|x| f64::from(x - top).exp()).sum();
        f64::from(top) + (f64::from(S::sum(sum)) + rest).ln()
    }
}

dispatch! {
    /// `factor` times the softmax of a row. The slices have one length.
    unsafe fn softmax(row: &[f32], log_sum: f32, factor: f32, output: &mut [f32])
        = softmax_kernel
}

#[inline(always)]
unsafe fn softmax_kernel<S: Simd>(row: &[f32], log_sum: f32, factor: f32, output: &mut [f32]) {
    for at in (0..row.len()).step_by(S::LANES) {
        let rest = row.len() - at;
        // SAFETY: both slices have `rest` elements from `at`; the CPU has the instructions.
        unsafe {
            let x = S::load_first(row.as_ptr().add(at), rest);
            let probability = math::exp::<S>(S::sub(x, S::splat(log_sum)));
            let value = S::mul(probability, S::splat(factor));
            S::store_first(output.as_mut_ptr().add(at), value, rest);
        }
    }
}
