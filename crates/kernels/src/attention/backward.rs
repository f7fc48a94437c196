//! Gradient.

use super::{Attention, Block, QUERIES};
use crate::error::{Error, check_shape};
use crate::isa::Isa;
use crate::matrix::{Matrix, MatrixMut};
use crate::product::{Write, strided_product};
use crate::scratch::Scratch;
use crate::simd::{Simd, dispatch, math};

impl Attention {
    /// Computes the gradient of queries, keys and values, `[length, 3 * width]`, given the gradient
    /// of the output, `[queries, width]`, and what [`Attention::forward`] had and gave. Tokens that
    /// were not queries get zeros as the gradient of their query.
    ///
    /// # Errors
    /// As [`Attention::forward`].
    #[allow(clippy::too_many_arguments, reason = "what the forward pass had and gave")]
    pub fn backward(
        &self,
        isa: Isa,
        qkv: &Matrix<'_>,
        output: &Matrix<'_>,
        log_sums: &[f32],
        output_gradient: &Matrix<'_>,
        qkv_gradient: &mut MatrixMut<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let sizes = self.sizes(qkv, output.shape(), log_sums.len())?;
        check_shape("gradient of the output", output.shape(), output_gradient.shape())?;
        check_shape("gradient of queries, keys and values", qkv.shape(), qkv_gradient.shape())?;
        output.check_row_major("column stride of the output")?;
        output_gradient.check_row_major("column stride of the output gradient")?;
        for row in 0..sizes.length - sizes.queries {
            qkv_gradient.row_mut(row)[..sizes.width].fill(0.0);
        }
        if sizes.queries == 0 {
            (0..sizes.length).for_each(|row| qkv_gradient.row_mut(row).fill(0.0));
        }
        for head in 0..self.heads {
            let columns = head * self.head_size..(head + 1) * self.head_size;
            // The last block has all keys: it sets their gradients, the others add to them.
            let mut write = Write::Replace;
            for block in sizes.blocks().rev() {
                let rows = block.first..block.first + block.count;
                let pass = Pass {
                    attention: self,
                    isa,
                    head,
                    qkv: self.slices(qkv, head)?,
                    output: output.rows(rows.clone())?.columns(columns.clone())?,
                    gradient: output_gradient.rows(rows)?.columns(columns.clone())?,
                    log_sums: &log_sums[head * sizes.queries + block.first..][..block.count],
                    block,
                };
                pass.run(write, qkv_gradient, scratch)?;
                write = Write::Add;
            }
        }
        Ok(())
    }
}

/// The gradient of a block of queries of a head.
struct Pass<'a> {
    attention: &'a Attention,
    isa: Isa,
    head: usize,
    block: Block,
    qkv: [Matrix<'a>; 3],
    output: Matrix<'a>,
    gradient: Matrix<'a>,
    log_sums: &'a [f32],
}

impl Pass<'_> {
    fn run(
        &self,
        write: Write<'_>,
        qkv_gradient: &mut MatrixMut<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let mut dots = [0.0; QUERIES];
        for (row, dot) in dots[..self.block.count].iter_mut().enumerate() {
            // SAFETY: both rows have the size of a head.
            *dot = unsafe { inner(self.isa, self.output.row(row), self.gradient.row(row)) };
        }
        for tile in self.block.tiles() {
            self.tile(&tile, &dots, write, qkv_gradient, scratch)?;
        }
        Ok(())
    }

    /// The gradient of the keys of a tile and their values, and their share of the queries'.
    fn tile(
        &self,
        tile: &Block,
        dots: &[f32; QUERIES],
        write: Write<'_>,
        qkv_gradient: &mut MatrixMut<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let Block { count, first_keys, stride, .. } = *tile;
        let (rows, keys) = (tile.keys.clone(), tile.keys.len());
        let Scratch { panel, scores, score_gradients, .. } = scratch;
        let (isa, scale) = (self.isa, self.attention.scale);
        let queries = first_keys - 1..first_keys - 1 + count;
        let query = self.qkv[0].rows(queries.clone())?;
        let (key, value) = (self.qkv[1].rows(rows.clone())?, self.qkv[2].rows(rows.clone())?);

        let scores = scores.first(keys * stride)?;
        let score_gradients = score_gradients.first(keys * stride)?;
        let mut matrix = MatrixMut::with_stride(scores, keys, count, stride)?;
        strided_product(isa, scale, &key, &query.transposed(), &mut matrix, Write::Replace, panel)?;
        let mut matrix = MatrixMut::with_stride(score_gradients, keys, count, stride)?;
        let gradient = self.gradient.transposed();
        strided_product(isa, 1.0, &value, &gradient, &mut matrix, Write::Replace, panel)?;
        // SAFETY: all buffers have the sizes of the tile.
        unsafe { softmax(isa, tile, scale, self.log_sums, dots, scores, score_gradients) };
        tile.mask(0.0, scores);
        tile.mask(0.0, score_gradients);

        let probabilities = Matrix::with_stride(scores, keys, count, stride)?;
        let score_gradients = Matrix::with_stride(score_gradients, keys, count, stride)?;
        let [query_columns, key_columns, value_columns] = [0, 1, 2].map(|slice| {
            let start = (slice * self.attention.heads + self.head) * self.attention.head_size;
            start..start + self.attention.head_size
        });
        let is_first = rows.start == 0;
        let mut to = qkv_gradient.rows(rows)?;
        let mut values = to.columns(value_columns)?;
        strided_product(isa, 1.0, &probabilities, &self.gradient, &mut values, write, panel)?;
        let mut keys = to.columns(key_columns)?;
        strided_product(isa, 1.0, &score_gradients, &query, &mut keys, write, panel)?;
        let mut to = qkv_gradient.rows(queries)?;
        let mut to = to.columns(query_columns)?;
        let left = score_gradients.transposed();
        let write = if is_first { Write::Replace } else { Write::Add };
        strided_product(isa, 1.0, &left, &key, &mut to, write, panel)
    }
}

dispatch! {
    /// The inner product of slices of one length.
    unsafe fn inner(a: &[f32], b: &[f32]) -> f32 = inner_kernel
}

#[inline(always)]
unsafe fn inner_kernel<S: Simd>(a: &[f32], b: &[f32]) -> f32 {
    // SAFETY: both slices have `rest` elements from `at`; the CPU has the instructions.
    unsafe {
        let mut sum = S::splat(0.0);
        for at in (0..a.len()).step_by(S::LANES) {
            let rest = a.len() - at;
            let a = S::load_first(a.as_ptr().add(at), rest);
            sum = S::mul_add(a, S::load_first(b.as_ptr().add(at), rest), sum);
        }
        S::sum(sum)
    }
}

dispatch! {
    /// Replaces scores `[keys, stride]` by probabilities `p`, and the gradient `g` of probabilities
    /// by the gradient of scores, `scale * p * (g - dot)`, with the inner product `dot` of a query's
    /// output and its gradient (Dao et al. 2022, algorithm 4).
    unsafe fn softmax(
        tile: &Block,
        scale: f32,
        log_sums: &[f32],
        dots: &[f32],
        scores: &mut [f32],
        gradients: &mut [f32],
    ) = softmax_kernel
}

#[inline(always)]
unsafe fn softmax_kernel<S: Simd>(
    tile: &Block,
    scale: f32,
    log_sums: &[f32],
    dots: &[f32],
    scores: &mut [f32],
    gradients: &mut [f32],
) {
    let Block { count, stride, .. } = *tile;
    let keys = tile.keys.len();
    for lane in (0..count).step_by(S::LANES) {
        // SAFETY: rows have `stride` elements, a multiple of the lanes; the CPU has the
        // instructions.
        unsafe {
            let log_sum = S::load_first(log_sums.as_ptr().add(lane), count - lane);
            let dot = S::load_first(dots.as_ptr().add(lane), count - lane);
            for key in 0..keys {
                let score = scores.as_mut_ptr().add(key * stride + lane);
                let gradient = gradients.as_mut_ptr().add(key * stride + lane);
                let probability = math::exp::<S>(S::sub(S::load(score), log_sum));
                let centered = S::mul(S::sub(S::load(gradient), dot), S::splat(scale));
                S::store(score, probability);
                S::store(gradient, S::mul(probability, centered));
            }
        }
    }
}
