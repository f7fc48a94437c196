//! Forward pass.

use super::{Attention, Block};
use crate::error::Error;
use crate::isa::Isa;
use crate::matrix::{Matrix, MatrixMut};
use crate::product::{Write, strided_product};
use crate::scratch::Scratch;
use crate::simd::{Simd, dispatch, math};

impl Attention {
    /// Attends from the last tokens of a sequence, as many as `output` has rows, to all tokens up
    /// to themselves. `qkv` is `[length, 3 * width]`, queries, keys and values side by side as
    /// GPT-2 computes them; `output` is `[queries, width]`. `log_sums`, `[heads, queries]`, keeps
    /// the logarithm of the sum of the exponentials of each query's scores for the gradient.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Length`] or [`Error::Setting`] for buffers that do not fit.
    pub fn forward(
        &self,
        isa: Isa,
        qkv: &Matrix<'_>,
        output: &mut MatrixMut<'_>,
        log_sums: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let sizes = self.sizes(qkv, output.shape(), log_sums.len())?;
        let Scratch { panel, scores, .. } = scratch;
        for head in 0..self.heads {
            let [query, key, value] = self.slices(qkv, head)?;
            for block in sizes.blocks() {
                let first_query = block.first_keys - 1;
                let query = query.rows(first_query..first_query + block.count)?;
                let count = block.keys.len();
                let keys = key.rows(block.keys.clone())?;
                let [exponentials, sums] = room(scores, count * block.stride, block.stride)?;
                let mut matrix =
                    MatrixMut::with_stride(exponentials, count, block.count, block.stride)?;
                let query = query.transposed();
                strided_product(
                    isa,
                    self.scale,
                    &keys,
                    &query,
                    &mut matrix,
                    Write::Replace,
                    panel,
                )?;
                block.mask(f32::NEG_INFINITY, exponentials);
                let log_sums = &mut log_sums[head * sizes.queries + block.first..][..block.count];
                // SAFETY: scores and sums have the sizes of the block.
                unsafe { softmax(isa, &block, exponentials, sums, log_sums) };

                let exponentials =
                    Matrix::with_stride(exponentials, count, block.count, block.stride)?;
                let values = value.rows(block.keys.clone())?;
                let columns = head * self.head_size..(head + 1) * self.head_size;
                let mut output = output.rows(block.first..block.first + block.count)?;
                let mut output = output.columns(columns)?;
                let left = exponentials.transposed();
                strided_product(isa, 1.0, &left, &values, &mut output, Write::Replace, panel)?;
                for (row, sum) in sums[..block.count].iter().enumerate() {
                    let factor = 1.0 / sum;
                    output.row_mut(row).iter_mut().for_each(|value| *value *= factor);
                }
            }
        }
        Ok(())
    }

    /// Queries, keys and values of a head.
    pub(super) fn slices<'a>(
        &self,
        qkv: &Matrix<'a>,
        head: usize,
    ) -> Result<[Matrix<'a>; 3], Error> {
        let slice = |slice: usize| {
            let start = (slice * self.heads + head) * self.head_size;
            qkv.columns(start..start + self.head_size)
        };
        Ok([slice(0)?, slice(1)?, slice(2)?])
    }
}

/// Two pieces of work memory.
pub(super) fn room(
    memory: &mut crate::scratch::Aligned,
    first: usize,
    second: usize,
) -> Result<[&mut [f32]; 2], Error> {
    let (first, second) = memory.first::<f32>(first + second)?.split_at_mut(first);
    Ok([first, second])
}

dispatch! {
    /// Replaces scores `[keys, stride]` by their exponentials, relative to each query's largest,
    /// and gives their sums `[stride]` and the logarithms of the true sums.
    unsafe fn softmax(block: &Block, scores: &mut [f32], sums: &mut [f32], log_sums: &mut [f32])
        = softmax_kernel
}

#[inline(always)]
unsafe fn softmax_kernel<S: Simd>(
    block: &Block,
    scores: &mut [f32],
    sums: &mut [f32],
    log_sums: &mut [f32],
) {
    let Block { count, stride, .. } = *block;
    let keys = block.keys.len();
    let mut tops = [0.0_f32; super::QUERIES];
    for lane in (0..count).step_by(S::LANES) {
        // SAFETY: rows have `stride` elements, a multiple of the lanes; so do the sums and, as
        // far as blocks go, the tops. The CPU has the instructions.
        unsafe {
            let mut top = S::splat(f32::NEG_INFINITY);
            for key in 0..keys {
                top = S::max(S::load(scores.as_ptr().add(key * stride + lane)), top);
            }
            let mut sum = S::splat(0.0);
            for key in 0..keys {
                let score = scores.as_mut_ptr().add(key * stride + lane);
                let exponential = math::exp::<S>(S::sub(S::load(score), top));
                S::store(score, exponential);
                sum = S::add(sum, exponential);
            }
            S::store(sums.as_mut_ptr().add(lane), sum);
            S::store(tops.as_mut_ptr().add(lane), top);
        }
    }
    for ((log_sum, sum), top) in log_sums.iter_mut().zip(sums).zip(tops) {
        *log_sum = top + sum.ln();
    }
}
