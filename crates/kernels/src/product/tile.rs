//! Tiles: a few rows by two vectors of an output, held in registers while the inner dimension is
//! summed up. An element is one chain of multiply-adds in ascending order, whatever the shape of
//! the tile, so it does not depend on the rows beside it.

use std::marker::PhantomData;

use crate::simd::Simd;

/// One tile: `output = alpha * left * right + addend`.
pub(super) struct Tile<L, R> {
    /// Steps along the inner dimension: numbers, or pairs of bfloat16.
    pub steps: usize,
    /// The first row of the left factor.
    pub left: *const L,
    /// Elements from one row to the next.
    pub left_row_stride: usize,
    /// Elements from one step to the next.
    pub left_step_stride: usize,
    /// The right factor, a panel.
    pub right: *const R,
    /// Elements from one step to the next.
    pub right_stride: usize,
    /// The output.
    pub output: *mut f32,
    /// Elements from one row to the next.
    pub output_stride: usize,
    /// Factor on the product.
    pub alpha: f32,
    /// Added to the product, unless null.
    pub addend: *const f32,
    /// Elements from one row to the next; 0 for a bias.
    pub addend_stride: usize,
    /// Fetched while the tile is computed, a cache line each step.
    pub prefetch: *const u8,
}

/// A kind of tile: types of the factors and instructions.
///
/// # Safety
/// [`Kernel::tile`] may be called only on CPUs that have its instructions, with pointers to
/// `ROWS` rows of `steps` steps of the left factor, `steps` steps of `VECTORS * LANES` columns of
/// the right factor, and `ROWS` rows of as many columns of the output and of the addend, if any.
pub(super) trait Kernel {
    /// Element of the left factor.
    type Left: Copy;
    /// Element of the right factor.
    type Right: Copy;
    /// Columns of a vector.
    const LANES: usize;
    /// Most rows of a tile.
    const ROWS: usize;
    /// Elements of the inner dimension in a step.
    const DEPTH: usize;

    unsafe fn tile<const ROWS: usize, const VECTORS: usize>(tile: &Tile<Self::Left, Self::Right>);
}

/// float32 times float32.
pub(super) struct Float<S>(PhantomData<S>);

impl<S: Simd> Kernel for Float<S> {
    type Left = f32;
    type Right = f32;
    const LANES: usize = S::LANES;
    const ROWS: usize = S::ROWS;
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn tile<const ROWS: usize, const VECTORS: usize>(tile: &Tile<f32, f32>) {
        // SAFETY: the contract of the trait.
        unsafe {
            let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
            let (mut left, mut right, mut prefetch) = (tile.left, tile.right, tile.prefetch);
            for _ in 0..tile.steps {
                S::prefetch(prefetch);
                prefetch = prefetch.wrapping_add(64);
                let mut columns = [S::splat(0.0); VECTORS];
                for (vector, columns) in columns.iter_mut().enumerate() {
                    *columns = S::load(right.add(S::LANES * vector));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let factor = S::splat(*left.add(row * tile.left_row_stride));
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = S::mul_add(factor, columns, *sum);
                    }
                }
                left = left.wrapping_add(tile.left_step_stride);
                right = right.wrapping_add(tile.right_stride);
            }
            write::<S, _, _, ROWS, VECTORS>(tile, &sums);
        }
    }
}

/// float32 rounded to bfloat16 times bfloat16, for CPUs without an instruction for it. A step is
/// a pair.
pub(super) struct Widened<S>(PhantomData<S>);

impl<S: Simd> Kernel for Widened<S> {
    type Left = f32;
    type Right = u16;
    const LANES: usize = S::LANES;
    const ROWS: usize = S::ROWS;
    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn tile<const ROWS: usize, const VECTORS: usize>(tile: &Tile<f32, u16>) {
        // SAFETY: the contract of the trait.
        unsafe {
            let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
            let (mut left, mut right, mut prefetch) = (tile.left, tile.right, tile.prefetch);
            for _ in 0..tile.steps {
                S::prefetch(prefetch);
                prefetch = prefetch.wrapping_add(64);
                let mut columns = [[S::splat(0.0); 2]; VECTORS];
                for (vector, columns) in columns.iter_mut().enumerate() {
                    *columns = S::load_bf16_pairs(right.add(2 * S::LANES * vector));
                }
                for half in 0..2 {
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let factor = S::splat(*left.add(row * tile.left_row_stride + half));
                        for (sum, columns) in sums.iter_mut().zip(columns) {
                            *sum = S::mul_add(factor, columns[half], *sum);
                        }
                    }
                }
                left = left.wrapping_add(tile.left_step_stride);
                right = right.wrapping_add(tile.right_stride);
            }
            write::<S, _, _, ROWS, VECTORS>(tile, &sums);
        }
    }
}

/// Writes the sums of a tile.
///
/// # Safety
/// As [`Kernel::tile`].
#[inline(always)]
unsafe fn write<S: Simd, L, R, const ROWS: usize, const VECTORS: usize>(
    tile: &Tile<L, R>,
    sums: &[[S::Vector; VECTORS]; ROWS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let alpha = S::splat(tile.alpha);
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                let mut value = S::mul(alpha, *sum);
                if !tile.addend.is_null() {
                    let addend = tile.addend.add(row * tile.addend_stride + S::LANES * vector);
                    value = S::add(value, S::load(addend));
                }
                S::store(tile.output.add(row * tile.output_stride + S::LANES * vector), value);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use pairs::Pairs;

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::*;

    use super::{Kernel, Tile, write};
    use crate::simd::{Simd, avx512::Avx512};

    /// bfloat16 times bfloat16 by `vdpbf16ps`, which multiplies and adds a pair a lane and takes
    /// subnormal numbers for zeros.
    pub(in crate::product) struct Pairs;

    impl Kernel for Pairs {
        type Left = u16;
        type Right = u16;
        const LANES: usize = Avx512::LANES;
        const ROWS: usize = Avx512::ROWS;
        const DEPTH: usize = 2;

        #[inline(always)]
        unsafe fn tile<const ROWS: usize, const VECTORS: usize>(tile: &Tile<u16, u16>) {
            // SAFETY: the contract of the trait; a vector of 32 bfloat16 is one of 16 pairs.
            unsafe {
                let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
                let (mut left, mut right, mut prefetch) = (tile.left, tile.right, tile.prefetch);
                for _ in 0..tile.steps {
                    Avx512::prefetch(prefetch);
                    prefetch = prefetch.wrapping_add(64);
                    let mut columns = [_mm512_setzero_si512(); VECTORS];
                    for (vector, columns) in columns.iter_mut().enumerate() {
                        *columns = _mm512_loadu_si512(right.add(32 * vector).cast());
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let pair = left.add(row * tile.left_row_stride).cast::<i32>();
                        let factor: __m512bh =
                            std::mem::transmute(_mm512_set1_epi32(pair.read_unaligned()));
                        for (sum, columns) in sums.iter_mut().zip(columns) {
                            let columns: __m512bh = std::mem::transmute::<__m512i, _>(columns);
                            *sum = _mm512_dpbf16_ps(*sum, factor, columns);
                        }
                    }
                    left = left.wrapping_add(tile.left_step_stride);
                    right = right.wrapping_add(tile.right_stride);
                }
                write::<Avx512, _, _, ROWS, VECTORS>(tile, &sums);
            }
        }
    }
}
