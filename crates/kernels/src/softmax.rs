//! Softmax over columns that are computed block by block, as in online softmax (Milakov and
//! Gimelshein 2018, *Online normalizer calculation for softmax*).

use crate::error::{Error, check_length, check_shape};
use crate::isa::Isa;
use crate::matrix::MatrixMut;
use crate::simd::{Simd, dispatch, math};

/// Largest logit of a row so far, and the sum of the exponentials of the differences from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunningSoftmax {
    /// Largest logit; −∞ before the first.
    pub maximum: f32,
    /// `Σ exp(logit - maximum)`, at least 1 after the first logit that is not −∞.
    pub sum: f32,
}

impl RunningSoftmax {
    /// State before the first block.
    pub const EMPTY: Self = Self { maximum: f32::NEG_INFINITY, sum: 0.0 };

    /// Adds a block of logits `[rows, columns]` to the state of each row, and replaces each logit by
    /// `exp(logit - maximum)`. Where a block raises the maximum of a row, the row of `accumulated`
    /// (`[rows, any]`), a sum weighted by earlier exponentials, is multiplied by
    /// `exp(old maximum - new maximum)`. NaN and infinite logits make the sum NaN.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::Shape`] if the numbers of rows differ.
    pub fn add_block(
        rows: &mut [Self],
        isa: Isa,
        logits: &mut MatrixMut<'_>,
        accumulated: &mut MatrixMut<'_>,
    ) -> Result<(), Error> {
        let [count, _] = logits.shape();
        check_length("states of a softmax", count, rows.len())?;
        let [_, columns] = accumulated.shape();
        check_shape("sums weighted by a softmax", [count, columns], accumulated.shape())?;
        for (row, state) in rows.iter_mut().enumerate() {
            // SAFETY: slices have their lengths.
            unsafe { add_row(isa, state, logits.row_mut(row), accumulated.row_mut(row)) };
        }
        Ok(())
    }
}

dispatch! {
    /// Adds the logits of a row.
    unsafe fn add_row(state: &mut RunningSoftmax, logits: &mut [f32], accumulated: &mut [f32])
        = add_row_kernel
}

#[inline(always)]
unsafe fn add_row_kernel<S: Simd>(
    state: &mut RunningSoftmax,
    logits: &mut [f32],
    accumulated: &mut [f32],
) {
    // SAFETY: the caller's promise; every access is to the first numbers of a slice.
    unsafe {
        let maximum = largest::<S>(logits).max(state.maximum);
        if maximum == f32::NEG_INFINITY {
            // A difference of infinities would be NaN.
            logits.fill(0.0);
            return;
        }
        if maximum > state.maximum {
            let factor = (state.maximum - maximum).exp();
            state.sum *= factor;
            accumulated.iter_mut().for_each(|value| *value *= factor);
            state.maximum = maximum;
        }
        let mut sum = S::splat(0.0);
        let (whole, _) = logits.split_at_mut(logits.len() - logits.len() % S::LANES);
        for values in whole.chunks_exact_mut(S::LANES) {
            let difference = S::sub(S::load(values.as_ptr()), S::splat(maximum));
            let exponential = math::exp::<S>(difference);
            S::store(values.as_mut_ptr(), exponential);
            sum = S::add(sum, exponential);
        }
        state.sum += S::sum(sum);
        let count = whole.len();
        for value in &mut logits[count..] {
            *value = (*value - maximum).exp();
            state.sum += *value;
        }
    }
}

/// Largest number that is not NaN.
#[inline(always)]
unsafe fn largest<S: Simd>(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = values.chunks_exact(S::LANES);
    let rest = chunks.remainder();
    // SAFETY: the caller's promise; `lanes` and each chunk hold a whole vector.
    unsafe {
        let mut largest = S::load(lanes.as_ptr());
        for values in chunks {
            largest = S::max(S::load(values.as_ptr()), largest);
        }
        S::store(lanes.as_mut_ptr(), largest);
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |largest, value| largest.max(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// State and weighted sum of `logits` in float64.
    fn expected(logits: &[f32]) -> (f64, f64) {
        let maximum = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let exponentials = logits.iter().map(|&logit| (f64::from(logit) - maximum).exp());
        let weighted = exponentials.clone().zip(1_u32..).map(|(it, place)| it * f64::from(place));
        (exponentials.sum(), weighted.sum())
    }

    /// States and weighted sums after blocks of `width` columns.
    fn computed(isa: Isa, logits: &[f32], width: usize) -> (RunningSoftmax, f32) {
        let mut states = [RunningSoftmax::EMPTY];
        let mut weighted = [0.0];
        let mut place = 0.0;
        for block in logits.chunks(width) {
            let mut block = block.to_vec();
            let count = block.len();
            RunningSoftmax::add_block(
                &mut states,
                isa,
                &mut MatrixMut::new(&mut block, 1, count).unwrap(),
                &mut MatrixMut::new(&mut weighted, 1, 1).unwrap(),
            )
            .unwrap();
            for value in block {
                place += 1.0;
                weighted[0] += value * place;
            }
        }
        (states[0], weighted[0])
    }

    #[test]
    fn blocks_give_the_softmax_of_the_whole_row() {
        // A maximum that rises, falls and jumps.
        let logits: Vec<f32> =
            (0..137).map(|place| (place as f32 * 0.7).sin() * 30.0 + place as f32 * 0.2).collect();
        let (sum, weighted) = expected(&logits);
        for isa in Isa::available() {
            for width in [1, 15, 16, 33, 137] {
                let (state, of_blocks) = computed(isa, &logits, width);
                assert!((f64::from(state.sum) / sum - 1.0).abs() < 2e-6, "{isa} {width}");
                assert!((f64::from(of_blocks) / weighted - 1.0).abs() < 2e-6, "{isa} {width}");
            }
        }
    }

    #[test]
    fn excluded_logits_count_nothing() {
        for isa in Isa::available() {
            let excluded = [f32::NEG_INFINITY; 40];
            assert_eq!(computed(isa, &excluded, 17), (RunningSoftmax::EMPTY, 0.0));
            let mut logits = excluded;
            logits[20] = 3.0;
            let (state, weighted) = computed(isa, &logits, 17);
            assert_eq!((state, weighted), (RunningSoftmax { maximum: 3.0, sum: 1.0 }, 21.0));
        }
    }

    #[test]
    fn nan_and_infinite_logits_make_the_sum_nan() {
        for isa in Isa::available() {
            for (place, bad) in [(0, f32::NAN), (35, f32::NAN), (3, f32::INFINITY)] {
                let mut logits = [0.5; 36];
                logits[place] = bad;
                assert!(computed(isa, &logits, 16).0.sum.is_nan(), "{isa} {place} {bad}");
            }
        }
    }

    #[test]
    fn other_numbers_of_rows_are_refused() {
        let (mut logits, mut sums) = ([0.0; 4], [0.0; 3]);
        let mut logits = MatrixMut::new(&mut logits, 2, 2).unwrap();
        let mut sums = MatrixMut::new(&mut sums, 3, 1).unwrap();
        let add = |count: usize, logits: &mut MatrixMut<'_>, sums: &mut MatrixMut<'_>| {
            let mut states = vec![RunningSoftmax::EMPTY; count];
            RunningSoftmax::add_block(&mut states, Isa::PORTABLE, logits, sums)
        };
        assert!(matches!(add(1, &mut logits, &mut sums), Err(Error::Length { .. })));
        assert!(matches!(add(2, &mut logits, &mut sums), Err(Error::Shape { .. })));
    }
}
