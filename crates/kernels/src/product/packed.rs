//! Weights packed once for many products.

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::driver::{self, INNER_BLOCK, Operands, Panels};
use super::packing::{pack_block, pack_pairs};
use super::rounding::rounded;
#[cfg(target_arch = "x86_64")]
use super::rounding::rounded_pairs;
#[cfg(target_arch = "x86_64")]
use super::tile::Pairs;
use super::tile::{Float, Widened};
use super::{Write, check_product};
use crate::error::Error;
use crate::isa::{Isa, Level};
use crate::matrix::{Matrix, MatrixMut};
use crate::scratch::{Aligned, Scratch};
use crate::simd::{Simd, dispatch};

/// Number format of packed weights. Sums are float32 in either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// float32.
    Float32,
    /// bfloat16, which the input of a product is rounded to as well (to nearest, ties to even).
    BFloat16,
}

/// The right factor of matrix products, `[inner, columns]`, copied once into panels in the order
/// in which tiles read it.
///
/// | weight | product | right factor |
/// |---|---|---|
/// | `torch.nn.Linear`, `w: [outputs, inputs]` | forward, `x * wᵀ` | `Matrix::new(w, outputs, inputs)?.transposed()` |
/// | | gradient of `x`, `g * w` | `Matrix::new(w, outputs, inputs)?` |
/// | GPT-2's `Conv1D`, `w: [inputs, outputs]` | forward, `x * w` | `Matrix::new(w, inputs, outputs)?` |
/// | | gradient of `x`, `g * wᵀ` | `Matrix::new(w, inputs, outputs)?.transposed()` |
#[derive(Clone, Debug)]
pub struct PackedWeights {
    pub(super) isa: Isa,
    inner: usize,
    columns: usize,
    pub(super) precision: Precision,
    /// `[columns / width][inner][width]` of float32, or `[columns / width][inner / 2][width][2]`
    /// of bfloat16; columns and rows are filled up with zeros.
    pub(super) panels: Aligned,
}

/// Columns of a panel, two vectors.
fn panel_width(isa: Isa) -> usize {
    match isa.level() {
        Level::Portable => 8,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => 16,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Bf16 | Level::Amx => 32,
    }
}

/// Rows of a step through a panel of bfloat16, a multiple of which panels have.
fn panel_depth(isa: Isa) -> usize {
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Amx => amx::DEPTH,
        _ => 2,
    }
}

impl PackedWeights {
    /// Packs a right factor `[inner, columns]` for products with an instruction set.
    ///
    /// # Errors
    /// [`Error::Memory`] if memory runs out.
    pub fn pack(isa: Isa, precision: Precision, right: &Matrix<'_>) -> Result<Self, Error> {
        let [inner, columns] = right.shape();
        let padded = columns.next_multiple_of(panel_width(isa));
        let numbers = match precision {
            Precision::Float32 => inner,
            Precision::BFloat16 => inner.next_multiple_of(panel_depth(isa)) / 2,
        };
        let mut panels = Aligned::default();
        panels.first::<f32>(numbers * padded)?;
        let mut packed = Self { isa, inner, columns, precision, panels };
        packed.fill(right);
        Ok(packed)
    }

    fn fill(&mut self, right: &Matrix<'_>) {
        let (inner, width) = (self.inner, panel_width(self.isa));
        let columns = (0..self.columns).step_by(width);
        match self.precision {
            Precision::Float32 => {
                let panels = self.panels.all_mut::<f32>().chunks_mut((inner * width).max(1));
                for (panel, column) in panels.zip(columns) {
                    pack_block(right, [0, inner], [column, width], panel);
                }
            }
            Precision::BFloat16 => {
                let depth = inner.next_multiple_of(panel_depth(self.isa));
                let panels = self.panels.all_mut::<u16>().chunks_mut((depth * width).max(1));
                for (panel, column) in panels.zip(columns) {
                    pack_pairs(right, [column, width], panel);
                }
            }
        }
    }

    /// Returns the rows and columns of the packed factor, `[inner, columns]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.inner, self.columns]
    }

    /// Computes `output = input * weights`, plus what `write` says: `[rows, inner]` times
    /// `[inner, columns]` is `[rows, columns]`. A row of the output depends on its row of the
    /// input alone.
    ///
    /// Rows whose stride is a multiple of 2 KiB are slow; see [`crate::padded_stride`].
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit, [`Error::Length`] for a bias of another length,
    /// [`Error::Memory`] if memory runs out.
    pub fn multiply(
        &self,
        input: &Matrix<'_>,
        output: &mut MatrixMut<'_>,
        write: Write<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        check_product(input, self.shape(), output, write)?;
        if output.shape().contains(&0) {
            return Ok(());
        }
        let isa = self.isa;
        // SAFETY (all calls below): the views are valid for the shapes, which fit, and panels hold
        // the whole factor; `output` is borrowed mutably, so nothing overlaps it.
        match self.precision {
            Precision::Float32 => {
                let shape = input.shape();
                let operands =
                    Operands::new(input.as_ptr(), input.strides(), shape, 1.0, output, write);
                let panels =
                    Packed { panels: self.panels.all(), inner: self.inner, columns: self.columns };
                // SAFETY: see above.
                unsafe { float32(isa, &operands, panels) }
            }
            Precision::BFloat16 => {
                let panels = self.panels.all();
                let inner = self.inner.next_multiple_of(panel_depth(isa));
                let panels = Packed { panels, inner, columns: self.columns };
                let shape = [input.shape()[0], inner];
                #[cfg(target_arch = "x86_64")]
                if isa.multiplies_bf16() {
                    // Tiles of AMX have a fixed height.
                    let spare = if isa.level() == Level::Amx { amx::ROWS - 1 } else { 0 };
                    let (rounded, stride) = rounded_pairs(input, inner, spare, scratch)?;
                    let operands = Operands::new(rounded, [stride, 1], shape, 1.0, output, write);
                    // SAFETY: see above; there are spare rows.
                    unsafe {
                        match isa.level() {
                            Level::Amx => amx::multiply(&operands, panels.panels),
                            _ => pairs(&operands, panels),
                        }
                    };
                    return Ok(());
                }
                let (rounded, stride) = rounded(input, scratch)?;
                let operands = Operands::new(rounded, [stride, 1], shape, 1.0, output, write);
                // SAFETY: see above.
                unsafe { widened(isa, &operands, panels) }
            }
        }
        Ok(())
    }
}

dispatch! {
    /// Computes a product with float32 panels.
    unsafe fn float32(operands: &Operands<f32>, panels: Packed<'_, f32>) = float32_kernel
}

#[inline(always)]
unsafe fn float32_kernel<S: Simd>(operands: &Operands<f32>, panels: Packed<'_, f32>) {
    let mut panels = Blocks { packed: panels, width: 2 * S::LANES, depth: 1 };
    // SAFETY: the caller's promise.
    unsafe { driver::multiply::<Float<S>, _>(operands, &mut panels) }
}

dispatch! {
    /// Computes a product with bfloat16 panels in float32 arithmetic.
    unsafe fn widened(operands: &Operands<f32>, panels: Packed<'_, u16>) = widened_kernel
}

#[inline(always)]
unsafe fn widened_kernel<S: Simd>(operands: &Operands<f32>, panels: Packed<'_, u16>) {
    let mut panels = Blocks { packed: panels, width: 2 * S::LANES, depth: 2 };
    // SAFETY: the caller's promise.
    unsafe { driver::multiply::<Widened<S>, _>(operands, &mut panels) }
}

/// Computes a product with bfloat16 panels by pairs.
///
/// # Safety
/// As [`driver::multiply`], on a CPU with AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn pairs(operands: &Operands<u16>, panels: Packed<'_, u16>) {
    let mut panels = Blocks { packed: panels, width: 32, depth: 2 };
    // SAFETY: the caller's promise.
    unsafe { driver::multiply::<Pairs, _>(operands, &mut panels) }
}

/// Panels of the whole factor.
#[derive(Clone, Copy)]
struct Packed<'a, R> {
    panels: &'a [R],
    inner: usize,
    columns: usize,
}

/// Blocks of packed panels.
struct Blocks<'a, R> {
    packed: Packed<'a, R>,
    width: usize,
    depth: usize,
}

// SAFETY: `PackedWeights` holds `inner` rows of every panel, zeros included.
unsafe impl<R> Panels<R> for Blocks<'_, R> {
    #[inline(always)]
    unsafe fn block(&mut self, row: usize, _count: usize, column: usize) -> [*const R; 2] {
        let Packed { panels, inner, columns } = self.packed;
        let place = |row, column| panels.as_ptr().wrapping_add(column * inner + row * self.width);
        let next = if column + self.width < columns {
            place(row, column + self.width)
        } else {
            place(row + INNER_BLOCK * self.depth, 0)
        };
        [place(row, column), next]
    }
}
