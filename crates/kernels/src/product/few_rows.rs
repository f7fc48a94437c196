//! Products of few rows with a weight that is read from memory once.

use std::ops::Range;

use super::Write;
use crate::error::{Error, check_length, check_shape};
use crate::isa::Isa;
use crate::matrix::{Matrix, MatrixMut};
use crate::simd::{Simd, dispatch};

/// Outputs that are computed at a time, so that a vector of the input is loaded once for all.
const OUTPUTS: usize = 4;

/// Most columns of the input that are multiplied at a time: 8 rows of them and the weight of a tile
/// fit into a first-level cache of 48 KiB.
const INNER: usize = 768;

/// Most rows that are computed at a time.
const ROWS: usize = 4;

/// Computes `output = input * weightᵀ`, plus what `write` says, for the few rows of a step of text
/// generation: `input` is `[rows, inner]`, `weight` is `[outputs, inner]` as `torch.nn.Linear`
/// stores it, and `output` is `[rows, outputs]`.
///
/// The time is the time in which the weight is read from memory, which
/// [`multiply`](crate::multiply) reads in another order to reuse it for many rows. The bits of a row
/// depend neither on the other rows nor on the other outputs.
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit, [`Error::Length`] for a bias of another length,
/// [`Error::Setting`] for a transposed matrix.
pub fn multiply_few_rows(
    isa: Isa,
    input: &Matrix<'_>,
    weight: &Matrix<'_>,
    output: &mut MatrixMut<'_>,
    write: Write<'_>,
) -> Result<(), Error> {
    let ([rows, inner], [outputs, width]) = (input.shape(), weight.shape());
    check_shape("weight of the product", [outputs, inner], [outputs, width])?;
    check_shape("output of the product", [rows, outputs], output.shape())?;
    input.check_row_major("column stride of the input")?;
    weight.check_row_major("column stride of the weight")?;
    if let Write::Bias(bias) = write {
        check_length("bias", outputs, bias.len())?;
    }
    let blocks = inner.div_ceil(INNER).max(1);
    let size = inner.div_ceil(blocks).next_multiple_of(16);
    for block in 0..blocks {
        let columns = (block * size).min(inner)..((block + 1) * size).min(inner);
        let (input, weight) = (input.columns(columns.clone())?, weight.columns(columns)?);
        let write = if block == 0 { write } else { Write::Add };
        // SAFETY: the shapes fit, and rows have no gaps between columns.
        unsafe { product(isa, &input, &weight, output, write) };
    }
    Ok(())
}

dispatch! {
    /// Computes a product.
    unsafe fn product(
        input: &Matrix<'_>,
        weight: &Matrix<'_>,
        output: &mut MatrixMut<'_>,
        write: Write<'_>,
    ) = product_kernel
}

#[inline(always)]
unsafe fn product_kernel<S: Simd>(
    input: &Matrix<'_>,
    weight: &Matrix<'_>,
    output: &mut MatrixMut<'_>,
    write: Write<'_>,
) {
    let ([rows, _], [outputs, _]) = (input.shape(), weight.shape());
    // Sums and a weight in each register: 16 and 4 of 32, or 8 and 4 of 16.
    let tallest = if S::LANES == 16 { ROWS } else { ROWS / 2 };
    let tiles = rows.div_ceil(tallest);
    for first in (0..outputs).step_by(OUTPUTS) {
        let count = OUTPUTS.min(outputs - first);
        for (number, row) in (0..rows).step_by(tallest).enumerate() {
            let height = tallest.min(rows - row);
            let mut sums = [[0.0; OUTPUTS]; ROWS];
            let fetches = number * OUTPUTS / tiles..(number + 1) * OUTPUTS / tiles;
            let place = Place { row, first, count, fetches };
            // SAFETY: the tile lies within the matrices.
            unsafe {
                match height {
                    1 => tile::<S, 1>(input, weight, &place, &mut sums),
                    2 => tile::<S, 2>(input, weight, &place, &mut sums),
                    3 => tile::<S, 3>(input, weight, &place, &mut sums),
                    _ => tile::<S, 4>(input, weight, &place, &mut sums),
                }
            }
            for (index, sums) in sums[..height].iter().enumerate() {
                let output = &mut output.row_mut(row + index)[first..][..count];
                for (at, (output, sum)) in output.iter_mut().zip(sums).enumerate() {
                    *output = match write {
                        Write::Replace => *sum,
                        Write::Add => *output + sum,
                        Write::Bias(bias) => sum + bias[first + at],
                    };
                }
            }
        }
    }
}

/// Position of a tile.
struct Place {
    /// First row.
    row: usize,
    /// First output.
    first: usize,
    /// Outputs.
    count: usize,
    /// Outputs whose successors' weight is fetched meanwhile: into the second-level cache, because
    /// the first holds the input and the weight of this tile. Each tile fetches its share, so that
    /// memory is read at an even rate.
    fetches: Range<usize>,
}

/// Sums of `HEIGHT` rows and up to [`OUTPUTS`] outputs.
///
/// # Safety
/// The CPU has the instructions of `S`, the rows and outputs are within the matrices, which are
/// row-major.
#[inline(always)]
unsafe fn tile<S: Simd, const HEIGHT: usize>(
    input: &Matrix<'_>,
    weight: &Matrix<'_>,
    place: &Place,
    result: &mut [[f32; OUTPUTS]; ROWS],
) {
    let inner = input.shape()[1];
    let stride = weight.strides()[0];
    let mut rows = [std::ptr::null(); HEIGHT];
    for (row, pointer) in rows.iter_mut().enumerate() {
        *pointer = input.row(place.row + row).as_ptr();
    }
    // An output that the weight does not have is computed as the last one again.
    let mut weights = [std::ptr::null(); OUTPUTS];
    for (output, pointer) in weights.iter_mut().enumerate() {
        *pointer = weight.row(place.first + output.min(place.count - 1)).as_ptr();
    }
    // SAFETY: every load is within a row.
    unsafe {
        let mut sums = [[S::splat(0.0); OUTPUTS]; HEIGHT];
        let whole = inner - inner % S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            let mut w = [S::splat(0.0); OUTPUTS];
            for (w, weight) in w.iter_mut().zip(weights) {
                *w = S::load(weight.add(at));
            }
            for output in place.fetches.clone() {
                let next = weights[output].wrapping_add(at + OUTPUTS * stride);
                S::prefetch_second_level(next.cast());
            }
            for (sums, row) in sums.iter_mut().zip(rows) {
                let x = S::load(row.add(at));
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = S::mul_add(x, w, *sum);
                }
            }
        }
        if whole < inner {
            let rest = inner - whole;
            let mut w = [S::splat(0.0); OUTPUTS];
            for (w, weight) in w.iter_mut().zip(weights) {
                *w = S::load_first(weight.add(whole), rest);
            }
            for (sums, row) in sums.iter_mut().zip(rows) {
                let x = S::load_first(row.add(whole), rest);
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = S::mul_add(x, w, *sum);
                }
            }
        }
        for (result, sums) in result.iter_mut().zip(sums) {
            *result = S::sums(sums);
        }
    }
}
