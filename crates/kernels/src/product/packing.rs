//! Copies of blocks of a matrix in the order in which tiles read them.

use super::rounding::round_to_bf16;
use crate::matrix::Matrix;
use crate::simd::Simd;

/// Copies the block of `count` rows from `first_row` and `width` columns from `first_column` of a
/// matrix to a panel `[count, width]`. Columns that the matrix lacks are zeros.
pub(super) fn pack_block(
    matrix: &Matrix<'_>,
    [first_row, count]: [usize; 2],
    [first_column, width]: [usize; 2],
    panel: &mut [f32],
) {
    let [rows, columns] = matrix.shape();
    let [row_stride, column_stride] = matrix.strides();
    let columns = width.min(columns - first_column);
    let panel = &mut panel[..count * width];
    assert!(first_row + count <= rows);
    if columns < width {
        panel.fill(0.0);
    }
    if count == 0 || columns == 0 {
        return;
    }
    let start = first_row * row_stride + first_column * column_stride;
    let data = &matrix.data()[start..];
    if column_stride == 1 {
        for (row, panel) in panel.chunks_exact_mut(width).enumerate() {
            let row = &data[row * row_stride..][..columns];
            panel[..columns].copy_from_slice(row);
        }
        return;
    }
    // A transposed view: its columns are without gaps. Blocks of 16 rows of the panel stay in the
    // first-level cache while each line of the matrix is read once.
    for (block, panel) in panel.chunks_mut(16 * width).enumerate() {
        for column in 0..columns {
            let column_data = &data[column * column_stride + 16 * block * row_stride..];
            let packed = panel[column..].iter_mut().step_by(width);
            for (packed, value) in packed.zip(column_data) {
                *packed = *value;
            }
        }
    }
}

/// Copies a block of a matrix whose rows have no gaps, `count` rows from `first_row`, to panels
/// `[count, width]` that lie one behind the other. The matrix has all their columns.
///
/// # Safety
/// The CPU has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn pack_rows<S: Simd>(
    matrix: &Matrix<'_>,
    [first_row, count]: [usize; 2],
    first_column: usize,
    panels: &mut [f32],
) {
    let width = 2 * S::LANES;
    let all = panels.len() / count.max(1);
    let [stride, _] = matrix.strides();
    for row in 0..count {
        let start = (first_row + row) * stride + first_column;
        let line = &matrix.data()[start..][..all];
        for column in (0..all).step_by(16) {
            // The lines behind these are packed next.
            let address = line.as_ptr().wrapping_add(all + column);
            // SAFETY: any address may be fetched.
            unsafe { S::prefetch_second_level(address.cast()) };
        }
        let places = panels.chunks_exact_mut(count * width);
        for (panel, values) in places.zip(line.chunks_exact(width)) {
            panel[row * width..][..width].copy_from_slice(values);
        }
    }
}

/// Copies a block of a matrix whose columns have no gaps, `count` rows from `first_row`, to a panel
/// `[count, width]`. The matrix has all its columns.
///
/// # Safety
/// The CPU has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn turn_columns<S: Simd>(
    matrix: &Matrix<'_>,
    [first_row, count]: [usize; 2],
    first_column: usize,
    panel: &mut [f32],
) {
    let width = 2 * S::LANES;
    let [_, stride] = matrix.strides();
    let data = &matrix.data()[first_row + first_column * stride..];
    let whole = count - count % 8;
    // A cache line of each column at a time, and eight columns in a step.
    for line in (0..whole).step_by(16) {
        for column in (0..width).step_by(8) {
            for next in column + width..column + width + 8 {
                // Columns lie apart, which no CPU expects: columns of the next panel are fetched
                // while these are turned.
                let address = data.as_ptr().wrapping_add(next * stride + line);
                // SAFETY: any address may be fetched.
                unsafe { S::prefetch_second_level(address.cast()) };
            }
            for row in (line..whole.min(line + 16)).step_by(8) {
                let from = data[column * stride + row..][..7 * stride + 8].as_ptr();
                let to = panel[row * width + column..][..7 * width + 8].as_mut_ptr();
                // SAFETY: eight rows of eight numbers, whose ends were checked.
                unsafe { S::turn(from, stride, to, width) };
            }
        }
    }
    for row in whole..count {
        for column in 0..width {
            panel[row * width + column] = data[column * stride + row];
        }
    }
}

/// Copies `width` columns from `first_column` of a matrix to a panel of bfloat16
/// pairs, `[rows / 2][width][2]`. Rows and columns that the matrix lacks are zeros.
pub(super) fn pack_pairs(
    matrix: &Matrix<'_>,
    [first_column, width]: [usize; 2],
    panel: &mut [u16],
) {
    let rows = matrix.shape()[0];
    let mut block = [0.0; 16 * 32];
    for (pairs, row) in panel.chunks_mut(16 * width).zip((0..rows).step_by(16)) {
        let count = 16.min(rows - row);
        pack_block(matrix, [row, count], [first_column, width], &mut block);
        block[count * width..].fill(0.0);
        for (pairs, rows) in pairs.chunks_exact_mut(2 * width).zip(block.chunks_exact(2 * width)) {
            for column in 0..width {
                pairs[2 * column] = round_to_bf16(rows[column]);
                pairs[2 * column + 1] = round_to_bf16(rows[width + column]);
            }
        }
    }
}
