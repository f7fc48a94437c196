//! Products of two matrices in memory, the right one packed block by block.

use std::marker::PhantomData;

use super::driver::{self, Operands, Panels};
use super::packing::{pack_block, pack_rows, turn_columns};
use super::tile::Float;
use super::{Write, check_product};
use crate::error::Error;
use crate::isa::Isa;
use crate::matrix::{Matrix, MatrixMut};
use crate::scratch::{Aligned, Scratch};
use crate::simd::{Simd, dispatch};

/// Computes `output = alpha * left * right`, plus what `write` says. Either factor may be
/// transposed: with a weight `a: [rank, inputs]` and `b: [outputs, rank]`, LoRA's products are
/// `x * aᵀ`, `h * bᵀ`, and for the gradients `gᵀ * h`, `(g * b)ᵀ * x` and `(g * b) * a`
/// (Hu et al. 2021, *LoRA*).
///
/// `left` is `[rows, inner]`, `right` is `[inner, columns]` and `output` is `[rows, columns]`,
/// each of any size.
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit, [`Error::Length`] for a bias of another length,
/// [`Error::Memory`] if memory runs out.
pub fn multiply(
    isa: Isa,
    alpha: f32,
    left: &Matrix<'_>,
    right: &Matrix<'_>,
    output: &mut MatrixMut<'_>,
    write: Write<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    strided_product(isa, alpha, left, right, output, write, &mut scratch.panel)
}

/// [`multiply`] with the work memory that it needs.
pub(crate) fn strided_product(
    isa: Isa,
    alpha: f32,
    left: &Matrix<'_>,
    right: &Matrix<'_>,
    output: &mut MatrixMut<'_>,
    write: Write<'_>,
    panel: &mut Aligned,
) -> Result<(), Error> {
    check_product(left, right.shape(), output, write)?;
    if output.shape().contains(&0) {
        return Ok(());
    }
    let operands = Operands::new(left.as_ptr(), left.strides(), left.shape(), alpha, output, write);
    let room = panel.first(driver::INNER_BLOCK * 32 * GROUP)?;
    let mut panels = Packing { right, room };
    // SAFETY: the views are valid for the shapes, which fit; `output` is borrowed mutably, so
    // nothing overlaps it.
    unsafe { strided(isa, &operands, &mut panels) };
    Ok(())
}

dispatch! {
    /// Computes a product of matrices in memory.
    unsafe fn strided(operands: &Operands<f32>, panels: &mut Packing<'_>) = kernel
}

#[inline(always)]
unsafe fn kernel<S: Simd>(operands: &Operands<f32>, panels: &mut Packing<'_>) {
    let mut panels = Blocks::<S> { packing: panels, simd: PhantomData };
    // SAFETY: the caller's promise.
    unsafe { driver::multiply::<Float<S>, _>(operands, &mut panels) }
}

/// Panels that are packed at a time if rows have no gaps: a row is read in runs of several cache
/// lines, and the panels stay in the second-level cache.
const GROUP: usize = 4;

/// The right factor and room for blocks of a group of panels.
struct Packing<'a> {
    right: &'a Matrix<'a>,
    room: &'a mut [f32],
}

/// Blocks of the width of an instruction set.
struct Blocks<'a, 'b, S> {
    packing: &'a mut Packing<'b>,
    simd: PhantomData<S>,
}

// SAFETY: a block is packed in full, zeros included.
unsafe impl<S: Simd> Panels<f32> for Blocks<'_, '_, S> {
    #[inline(always)]
    unsafe fn block(&mut self, row: usize, count: usize, column: usize) -> [*const f32; 2] {
        let width = 2 * S::LANES;
        let size = count * width;
        let Packing { right, room } = &mut *self.packing;
        let (rows, columns) = ([row, count], right.shape()[1] - column);
        let has_gaps = right.strides()[1] != 1;
        if columns < width {
            pack_block(right, rows, [column, width], room);
        } else if has_gaps {
            // SAFETY: the CPU has the instructions of `S`.
            unsafe { turn_columns::<S>(right, rows, column, &mut room[..size]) };
        } else {
            let number = column / width % GROUP;
            let ahead = (columns / width).min(GROUP - number);
            if number == 0 {
                // SAFETY: as above.
                unsafe { pack_rows::<S>(right, rows, column, &mut room[..ahead * size]) };
            }
            let place = |number: usize| room[number * size..].as_ptr();
            return [place(number), place(number + usize::from(ahead > 1))];
        }
        [room.as_ptr(); 2]
    }
}
