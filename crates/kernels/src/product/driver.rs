//! The loops around tiles: blocks of the inner dimension, panels of columns, tiles of rows.

use std::mem::MaybeUninit;

use super::Write;
use super::tile::{Kernel, Tile};
use crate::matrix::MatrixMut;

/// Elements of the inner dimension that are summed up before the sums go to the output, so that a
/// block of a panel stays in the first-level cache. The blocks start at fixed places: the order of
/// the sum of an element depends on its position in the inner dimension alone, and trailing zeros
/// do not change it.
pub(crate) const INNER_BLOCK: usize = 384;

/// A product `output = alpha * left * right + addend`, without the right factor.
pub(super) struct Operands<L> {
    /// Rows of the left factor and the output.
    pub rows: usize,
    /// Columns of the right factor and the output.
    pub columns: usize,
    /// Columns of the left factor and rows of the right one, a multiple of the depth of a step.
    pub inner: usize,
    /// The left factor.
    pub left: *const L,
    /// Elements from one row of it to the next, and from one column to the next.
    pub left_strides: [usize; 2],
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
}

impl<L> Operands<L> {
    /// A product into `output`, whose columns are the right factor's.
    pub fn new(
        left: *const L,
        left_strides: [usize; 2],
        [rows, inner]: [usize; 2],
        alpha: f32,
        output: &mut MatrixMut<'_>,
        write: Write<'_>,
    ) -> Self {
        let (columns, output_stride) = (output.shape()[1], output.stride());
        let output = output.as_mut_ptr();
        let (addend, addend_stride) = match write {
            Write::Replace => (std::ptr::null(), 0),
            Write::Add => (output.cast_const(), output_stride),
            Write::Bias(bias) => (bias.as_ptr(), 0),
        };
        Self {
            rows,
            columns,
            inner,
            left,
            left_strides,
            output,
            output_stride,
            alpha,
            addend,
            addend_stride,
        }
    }
}

/// The right factor, panel by panel.
///
/// # Safety
/// [`Panels::block`] returns a pointer to `count` rows (a multiple of the depth of a step) of
/// `width` columns, zeros behind the last column of the factor, and the address of the memory
/// that is needed next. The pointer is valid until the next call.
pub(super) unsafe trait Panels<R> {
    unsafe fn block(
        &mut self,
        first_row: usize,
        count: usize,
        first_column: usize,
    ) -> [*const R; 2];
}

/// Computes a product.
///
/// # Safety
/// The CPU has the instructions of `K`; the pointers are valid for the shapes, the output
/// overlaps nothing but the addend, and an addend that overlaps the output is the output.
#[inline(always)]
pub(super) unsafe fn multiply<K: Kernel, P: Panels<K::Right>>(
    operands: &Operands<K::Left>,
    panels: &mut P,
) {
    let width = 2 * K::LANES;
    // Tiles of similar heights: a last tile of one row would run at a fraction of the speed.
    let tiles = operands.rows.div_ceil(K::ROWS);
    let block = INNER_BLOCK * K::DEPTH;
    let mut first = 0;
    // An empty inner dimension is one block of no steps: zeros, and the addend.
    loop {
        let count = block.min(operands.inner - first);
        let mut column = 0;
        while column < operands.columns {
            // SAFETY: the block lies within the factor; the caller vouches for the rest.
            unsafe {
                let [right, next] = panels.block(first, count, column);
                let mut row = 0;
                for tile in 0..tiles {
                    let height = operands.rows / tiles + usize::from(tile < operands.rows % tiles);
                    // A step fetches a line; the first tiles fetch the whole next block.
                    let lines = tile * count / K::DEPTH;
                    let bytes = count * width * size_of::<K::Right>();
                    let prefetch = if lines * 64 < bytes {
                        next.cast::<u8>().wrapping_add(lines * 64)
                    } else {
                        right.cast()
                    };
                    let place = Place { first, count, row, height, column };
                    one_tile::<K>(operands, &place, right, prefetch);
                    row += height;
                }
            }
            column += width;
        }
        first += count;
        if first >= operands.inner {
            break;
        }
    }
}

/// Position of a tile in a product.
struct Place {
    /// First element of the inner dimension.
    first: usize,
    /// Elements of the inner dimension.
    count: usize,
    /// First row.
    row: usize,
    /// Rows.
    height: usize,
    /// First column.
    column: usize,
}

/// Computes one tile.
///
/// # Safety
/// As [`multiply`].
#[inline(always)]
unsafe fn one_tile<K: Kernel>(
    operands: &Operands<K::Left>,
    place: &Place,
    right: *const K::Right,
    prefetch: *const u8,
) {
    // SAFETY: the tile lies within the operands; a partial one lies beside the output, and its
    // elements are read after they were written.
    unsafe {
        let [row_stride, inner_stride] = operands.left_strides;
        let output =
            operands.output.wrapping_add(place.row * operands.output_stride + place.column);
        let (addend, addend_stride) = if place.first > 0 {
            (output.cast_const(), operands.output_stride)
        } else if operands.addend.is_null() {
            (operands.addend, 0)
        } else {
            let start = place.row * operands.addend_stride + place.column;
            (operands.addend.wrapping_add(start), operands.addend_stride)
        };
        let mut tile = Tile {
            steps: place.count / K::DEPTH,
            left: operands.left.wrapping_add(place.row * row_stride + place.first * inner_stride),
            left_row_stride: row_stride,
            left_step_stride: inner_stride * K::DEPTH,
            right,
            right_stride: 2 * K::LANES * K::DEPTH,
            output,
            output_stride: operands.output_stride,
            alpha: operands.alpha,
            addend,
            addend_stride,
            prefetch,
        };
        let columns = (operands.columns - place.column).min(2 * K::LANES);
        // A tile that is wider than the output is computed beside it.
        let is_partial = !columns.is_multiple_of(K::LANES);
        // Room for the tallest and widest tile, 14 rows of 32 columns.
        let mut beside = MaybeUninit::<[f32; 14 * 32]>::uninit();
        if is_partial {
            tile.output = beside.as_mut_ptr().cast();
            tile.output_stride = 2 * K::LANES;
            tile.addend = std::ptr::null();
        }
        if columns <= K::LANES {
            by_height::<K, 1>(place.height, &tile);
        } else {
            by_height::<K, 2>(place.height, &tile);
        }
        if is_partial {
            for row in 0..place.height {
                for column in 0..columns {
                    let mut value = *tile.output.add(row * tile.output_stride + column);
                    if !addend.is_null() {
                        value += *addend.add(row * addend_stride + column);
                    }
                    *output.add(row * operands.output_stride + column) = value;
                }
            }
        }
    }
}

/// Calls the tile function of a height.
///
/// # Safety
/// As [`Kernel::tile`].
#[inline(always)]
unsafe fn by_height<K: Kernel, const VECTORS: usize>(
    height: usize,
    tile: &Tile<K::Left, K::Right>,
) {
    macro_rules! heights {
        ($($height:literal)*) => {
            match height {
                // SAFETY: the caller's promise. Heights that the kind lacks are optimized away.
                $($height if $height <= K::ROWS => unsafe { K::tile::<$height, VECTORS>(tile) },)*
                _ => {}
            }
        };
    }
    heights!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}
