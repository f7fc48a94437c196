//! Products with the transpose of packed weights, whose panels are turned block by block: one
//! copy of a weight serves the output and the gradient of the input.

use std::marker::PhantomData;

use super::driver::{self, INNER_BLOCK, Operands, Panels};
use super::packed::PackedWeights;
use super::tile::Float;
use super::{Precision, Write, check_product};
use crate::error::Error;
use crate::matrix::{Matrix, MatrixMut};
use crate::scratch::Scratch;
use crate::simd::{Simd, dispatch};

impl PackedWeights {
    /// Computes `output = input * weightsᵀ`, plus what `write` says: `[rows, columns]` times
    /// `[columns, inner]` is `[rows, inner]`. Turning the weights takes the time of a few rows;
    /// weights packed transposed take as much memory again. The weights are float32.
    ///
    /// # Errors
    /// As [`PackedWeights::multiply`], and [`Error::Setting`] for bfloat16.
    pub fn multiply_transposed(
        &self,
        input: &Matrix<'_>,
        output: &mut MatrixMut<'_>,
        write: Write<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let [inner, columns] = self.shape();
        if self.precision != Precision::Float32 {
            let what = "bits of weights to multiply transposed";
            return Err(Error::Setting { what, expected: "32", got: 16 });
        }
        check_product(input, [columns, inner], output, write)?;
        if output.shape().contains(&0) {
            return Ok(());
        }
        let shape = input.shape();
        let operands = Operands::new(input.as_ptr(), input.strides(), shape, 1.0, output, write);
        let room = scratch.panel.first(INNER_BLOCK * 32);
        let turning = Turning { panels: self.panels.all(), inner, room };
        // SAFETY: the views are valid for the shapes, which fit; panels hold the whole factor, and
        // the room a block of the widest; `output` is borrowed mutably, so nothing overlaps it.
        unsafe { turned(self.isa, &operands, turning) };
        Ok(())
    }
}

dispatch! {
    /// Computes a product with transposed panels.
    unsafe fn turned(operands: &Operands<f32>, turning: Turning<'_>) = kernel
}

#[inline(always)]
unsafe fn kernel<S: Simd>(operands: &Operands<f32>, turning: Turning<'_>) {
    let mut panels = Turned::<S> { turning, simd: PhantomData };
    // SAFETY: the caller's promise.
    unsafe { driver::multiply::<Float<S>, _>(operands, &mut panels) }
}

/// Panels of a whole factor, `[inner, columns]`, and room for a block of its transpose.
struct Turning<'a> {
    panels: &'a [f32],
    /// Rows of a panel.
    inner: usize,
    room: &'a mut [f32],
}

/// Panels of the width of an instruction set.
struct Turned<'a, S> {
    turning: Turning<'a>,
    simd: PhantomData<S>,
}

// SAFETY: every column of a block is written, with zeros where the factor has no row.
unsafe impl<S: Simd> Panels<f32> for Turned<'_, S> {
    #[inline(always)]
    unsafe fn block(&mut self, first: usize, count: usize, column: usize) -> [*const f32; 2] {
        let width = 2 * S::LANES;
        let Turning { panels, inner, room } = &mut self.turning;
        let rows = width.min(*inner - column);
        let place = |first: usize| first * *inner + column * width;
        // The squares of a block lie apart, which no CPU expects: those of the next one are
        // fetched while these are turned.
        let ahead =
            if column + width < *inner { width * width } else { count * *inner - column * width };
        for start in (0..count).step_by(width) {
            let square = &panels[place(first + start)..][..rows * width];
            for line in (0..width * width).step_by(16) {
                let address = square.as_ptr().wrapping_add(ahead + line);
                // SAFETY: any address may be fetched.
                unsafe { S::prefetch(address.cast()) };
            }
            // A panel is as wide as high squares are, and blocks are multiples of them.
            let room = &mut room[start * width..][..width * width];
            let whole = rows - rows % 8;
            for row in (0..whole).step_by(8) {
                for column in (0..width).step_by(8) {
                    let from = square[row * width + column..][..7 * width + 8].as_ptr();
                    let to = room[column * width + row..][..7 * width + 8].as_mut_ptr();
                    // SAFETY: eight rows of eight numbers, whose ends were checked.
                    unsafe { S::turn(from, to, width) };
                }
            }
            for (column, turned) in room.chunks_exact_mut(width).enumerate() {
                for (row, turned) in turned.iter_mut().enumerate().skip(whole) {
                    *turned = if row < rows { square[row * width + column] } else { 0.0 };
                }
            }
        }
        [room.as_ptr(); 2]
    }
}
