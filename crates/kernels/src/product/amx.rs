//! Products of bfloat16 with the matrix unit of Intel CPUs (AMX).
//!
//! The unit has eight tiles of 16 rows of 64 bytes. Four hold sums of 32 rows and 32 columns, two a
//! step of the left factor, `[16, 32]` each, and two a step of the right factor, 16 pairs of rows of 16
//! columns, which is how panels hold them (Intel, *Optimization Reference Manual*, chapter 20). The
//! standard library has intrinsics in nightly versions only, so the loop is assembly.

use std::arch::asm;

use super::driver::{INNER_BLOCK, Operands};
use crate::simd::{Simd, avx512::Avx512};

/// Rows of the output that are computed together.
pub(super) const ROWS: usize = 32;
/// Elements of the inner dimension in a step.
pub(super) const DEPTH: usize = 32;
/// Columns of a panel.
const COLUMNS: usize = 32;
/// Bytes of a panel in a step.
const STEP: usize = DEPTH * COLUMNS * size_of::<u16>();
/// Elements of the inner dimension that are summed up before the sums go to the output; a panel of
/// them fits the first-level cache.
const BLOCK: usize = 2 * INNER_BLOCK;

/// Sums of a pair of tiles by a pair of tiles.
#[repr(C, align(64))]
struct Sums([[f32; COLUMNS]; ROWS]);

/// Configuration of the tiles (Intel SDM, `LDTILECFG`).
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Eight tiles of 16 rows of 64 bytes.
    const WHOLE: Self = {
        let (mut bytes_per_row, mut rows) = ([0; 16], [0; 16]);
        let mut tile = 0;
        while tile < 8 {
            (bytes_per_row[tile], rows[tile]) = (64, 16);
            tile += 1;
        }
        Self { palette: 1, start_row: 0, reserved: [0; 14], bytes_per_row, rows }
    };
    /// Tiles that hold nothing.
    const EMPTY: Self =
        Self { palette: 0, start_row: 0, reserved: [0; 14], bytes_per_row: [0; 16], rows: [0; 16] };

    /// Sets this thread's configuration and returns the previous one, which another library may
    /// rely on.
    ///
    /// # Safety
    /// The process may use AMX.
    unsafe fn exchange(&self) -> Self {
        let mut previous = Self::EMPTY;
        // SAFETY: both have the 64 bytes of a configuration, and `self` is one that was stored or one
        // of the constants.
        unsafe {
            asm!(
                "sttilecfg [{previous}]", "ldtilecfg [{new}]",
                previous = in(reg) &raw mut previous, new = in(reg) &raw const *self,
                options(nostack, preserves_flags),
            );
        }
        previous
    }
}

/// Computes a product with the panels of a whole factor. An element is one chain of sums in ascending
/// order, so it does not depend on the other rows.
///
/// # Safety
/// The process may use AMX. The inner dimension is a multiple of [`DEPTH`], the left factor has
/// `ROWS - 1` readable rows more than the output, its rows are without gaps, and the rest is as for
/// [`super::driver::multiply`].
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(operands: &Operands<u16>, panels: &[u16]) {
    // SAFETY: the caller's promise.
    let previous = unsafe { Configuration::WHOLE.exchange() };
    let mut sums = Sums([[0.0; COLUMNS]; ROWS]);
    let tiles = operands.rows.div_ceil(ROWS);
    for first in (0..operands.inner.max(1)).step_by(BLOCK) {
        let steps = BLOCK.min(operands.inner - first) / DEPTH;
        for column in (0..operands.columns).step_by(COLUMNS) {
            let right = panels.as_ptr().wrapping_add(column * operands.inner + first * COLUMNS);
            for tile in 0..tiles {
                let row = tile * ROWS;
                let left = operands.left.wrapping_add(row * operands.left_strides[0] + first);
                // Each tile fetches its share of the lines of the next panel.
                let lines = (STEP / 64).div_ceil(tiles);
                let next = right.wrapping_add(operands.inner * COLUMNS).cast::<u8>();
                let next = next.wrapping_add(tile * steps * lines * 64);
                // SAFETY: the caller's promise: rows behind the last one are readable.
                unsafe {
                    sum_up(left, operands.left_strides[0], right, steps, next, lines, &mut sums);
                    write(operands, [first, row, column], &sums);
                }
            }
        }
    }
    // SAFETY: as above.
    unsafe { previous.exchange() };
}

/// Sums up `steps` steps of 32 rows and 32 columns.
///
/// # Safety
/// As [`multiply`], with tiles configured.
unsafe fn sum_up(
    left: *const u16,
    left_stride: usize,
    right: *const u16,
    steps: usize,
    next: *const u8,
    lines: usize,
    sums: &mut Sums,
) {
    if steps == 0 {
        sums.0.fill([0.0; COLUMNS]);
        return;
    }
    let lower = left.wrapping_add(left_stride * ROWS / 2);
    // SAFETY: the caller's promise; the sums hold four tiles. Compiled code holds nothing in tiles.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{upper} + {left_stride}]",
            "tileloadd tmm6, [{right} + {right_stride}]",
            "tileloadd tmm7, [{right} + {right_stride} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{lower} + {left_stride}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "mov {line}, {lines}",
            "3:",
            "prefetcht1 [{next}]", "add {next}, 64",
            "dec {line}", "jnz 3b",
            "add {upper}, 64", "add {lower}, 64", "add {right}, {step}",
            "dec {steps}", "jnz 2b",
            "tilestored [{sums} + {right_stride}], tmm0",
            "tilestored [{sums} + {right_stride} + 64], tmm1",
            "tilestored [{sums} + {right_stride} + {half}], tmm2",
            "tilestored [{sums} + {right_stride} + {half} + 64], tmm3",
            upper = inout(reg) left => _,
            lower = inout(reg) lower => _,
            right = inout(reg) right => _,
            steps = inout(reg) steps => _,
            next = inout(reg) next => _,
            lines = in(reg) lines,
            line = out(reg) _,
            left_stride = in(reg) left_stride * size_of::<u16>(),
            // Rows of a panel's step and of the sums are equally long.
            right_stride = in(reg) 2 * COLUMNS * size_of::<u16>(),
            sums = in(reg) &raw mut *sums,
            step = const STEP,
            half = const ROWS / 2 * COLUMNS * size_of::<f32>(),
            options(nostack),
        );
    }
}

/// Writes the sums of a block of the inner dimension from `first` on to the output at `row` and
/// `column`.
///
/// # Safety
/// As [`multiply`].
#[target_feature(enable = "avx512f")]
unsafe fn write(operands: &Operands<u16>, [first, row, column]: [usize; 3], sums: &Sums) {
    let rows = row..operands.rows.min(row + ROWS);
    let vectors = (column..operands.columns.min(column + COLUMNS)).step_by(Avx512::LANES);
    for (row, sums) in rows.zip(&sums.0) {
        for (column, sums) in vectors.clone().zip(sums.as_chunks::<{ Avx512::LANES }>().0) {
            let count = (operands.columns - column).min(Avx512::LANES);
            // SAFETY: the row has `count` more elements, and so has the addend.
            unsafe {
                let output = operands.output.add(row * operands.output_stride + column);
                let mut value = Avx512::load(sums.as_ptr());
                let addend = if first > 0 {
                    output.cast_const()
                } else if operands.addend.is_null() {
                    std::ptr::null()
                } else {
                    operands.addend.add(row * operands.addend_stride + column)
                };
                if !addend.is_null() {
                    value = Avx512::add(value, Avx512::load_first(addend, count));
                }
                Avx512::store_first(output, value, count);
            }
        }
    }
}
