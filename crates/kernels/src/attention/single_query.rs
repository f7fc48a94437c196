//! Attention of one query of a head, as in each step of text generation.

use crate::error::{Error, check_length, check_shape};
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::scratch::Scratch;
use crate::simd::{Simd, dispatch, math};

/// Keys whose scores are computed at a time.
const KEYS: usize = 4;

/// Computes `output = softmax(scale * query * keysᵀ) * values` of one query and one head: `query` and
/// `output` are `[head_size]`, `keys` and `values` are `[length, head_size]`, at least one of each.
///
/// # Errors
/// [`Error::Shape`], [`Error::Length`] or [`Error::Setting`] for buffers that do not fit,
/// [`Error::Memory`] if memory runs out.
pub fn attend(
    isa: Isa,
    scale: f32,
    query: &[f32],
    [keys, values]: [&Matrix<'_>; 2],
    output: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let [length, _] = keys.shape();
    check_shape("keys", [length.max(1), query.len()], keys.shape())?;
    check_shape("values", keys.shape(), values.shape())?;
    check_length("output of attention", query.len(), output.len())?;
    keys.check_row_major("column stride of the keys")?;
    values.check_row_major("column stride of the values")?;
    let scores = scratch.scores.first::<f32>(length.next_multiple_of(16))?;
    // SAFETY: the shapes fit, and rows have no gaps between columns.
    unsafe { attention(isa, scale, query, keys, values, output, scores) };
    Ok(())
}

dispatch! {
    /// Computes the attention of a query. `scores` has room for whole vectors.
    unsafe fn attention(
        scale: f32,
        query: &[f32],
        keys: &Matrix<'_>,
        values: &Matrix<'_>,
        output: &mut [f32],
        scores: &mut [f32],
    ) = attention_kernel
}

#[inline(always)]
unsafe fn attention_kernel<S: Simd>(
    scale: f32,
    query: &[f32],
    keys: &Matrix<'_>,
    values: &Matrix<'_>,
    output: &mut [f32],
    scores: &mut [f32],
) {
    let ([length, size], room) = (keys.shape(), scores.len());
    // SAFETY: loads and stores are within rows, `output` and `scores`, a multiple of `S::LANES`.
    unsafe {
        scores[length..].fill(f32::NEG_INFINITY);
        let mut top = f32::NEG_INFINITY;
        for (block, scores) in scores[..length].chunks_mut(KEYS).enumerate() {
            let mut sums = [S::splat(0.0); KEYS];
            for at in (0..size).step_by(S::LANES) {
                let query = S::load_first(query.as_ptr().add(at), size - at);
                for (index, sum) in sums.iter_mut().enumerate() {
                    // A key that is not there is computed as the last one again.
                    let key = keys.row((block * KEYS + index).min(length - 1)).as_ptr();
                    *sum = S::mul_add(query, S::load_first(key.add(at), size - at), *sum);
                }
            }
            for (score, sum) in scores.iter_mut().zip(S::sums(sums)) {
                *score = scale * sum;
                top = top.max(*score);
            }
        }
        let (tops, mut sums) = (S::splat(top), S::splat(0.0));
        for at in (0..room).step_by(S::LANES) {
            let score = scores.as_mut_ptr().add(at);
            // −∞ − top is below every exponent, and its exponential is 0.
            let exponential = math::exp::<S>(S::sub(S::load(score), tops));
            S::store(score, exponential);
            sums = S::add(sums, exponential);
        }
        let factor = S::splat(1.0 / S::sum(sums));
        for at in (0..size).step_by(S::LANES) {
            let mut sum = S::splat(0.0);
            for (key, &weight) in scores[..length].iter().enumerate() {
                let value = S::load_first(values.row(key).as_ptr().add(at), size - at);
                sum = S::mul_add(S::splat(weight), value, sum);
            }
            S::store_first(output.as_mut_ptr().add(at), S::mul(sum, factor), size - at);
        }
    }
}
