//! Factors of products with bfloat16 weights.

use crate::error::Error;
use crate::matrix::Matrix;
use crate::scratch::Scratch;

/// Rounds a number to bfloat16, to nearest with ties to even; NaN stays NaN.
#[inline]
pub fn round_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    // A NaN whose set bits are all in the lower half would become infinite.
    let bits = if value.is_nan() { bits | 0x0040_0000 } else { rounded };
    (bits >> 16) as u16
}

/// The input of a product with bfloat16 weights, rounded to bfloat16 but held as float32, with an
/// even number of columns. Returns the row stride.
pub(super) fn rounded(
    input: &Matrix<'_>,
    scratch: &mut Scratch,
) -> Result<(*const f32, usize), Error> {
    let [rows, inner] = input.shape();
    let stride = inner.next_multiple_of(16) + 16;
    let rounded = scratch.rounded.first::<f32>(rows * stride)?;
    for row in 0..rows {
        let rounded = &mut rounded[row * stride..][..inner + inner % 2];
        rounded[inner..].fill(0.0);
        for (column, rounded) in rounded[..inner].iter_mut().enumerate() {
            let half = round_to_bf16(input.at(row, column));
            *rounded = f32::from_bits(u32::from(half) << 16);
        }
    }
    Ok((rounded.as_ptr(), stride))
}

/// The input of a product with bfloat16 weights, as bfloat16 with zeros up to `inner` columns, and
/// `spare` rows of arbitrary numbers behind it. Returns the row stride.
#[cfg(target_arch = "x86_64")]
pub(super) fn rounded_pairs(
    input: &Matrix<'_>,
    inner: usize,
    spare: usize,
    scratch: &mut Scratch,
) -> Result<(*const u16, usize), Error> {
    let [rows, columns] = input.shape();
    // An odd number of cache lines, so that rows do not compete for places in the cache.
    let stride = (inner.div_ceil(32) | 1) * 32;
    let rounded = scratch.rounded.first::<u16>((rows + spare) * stride)?;
    for (row, rounded) in rounded.chunks_exact_mut(stride).take(rows).enumerate() {
        let rounded = &mut rounded[..inner];
        rounded[columns..].fill(0);
        if input.is_row_major() {
            // SAFETY: only CPUs with AVX-512 BF16 multiply pairs.
            unsafe { round_row(input.row(row), &mut rounded[..columns]) };
            continue;
        }
        for (column, rounded) in rounded[..columns].iter_mut().enumerate() {
            *rounded = round_to_bf16(input.at(row, column));
        }
    }
    Ok((rounded.as_ptr(), stride))
}

/// Rounds numbers to bfloat16; subnormal numbers, which products take for zeros, may become zeros.
///
/// # Safety
/// The CPU has AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn round_row(values: &[f32], rounded: &mut [u16]) {
    use std::arch::x86_64::*;

    let (vectors, rest) = values.as_chunks::<16>();
    let (halves, last) = rounded.as_chunks_mut::<16>();
    for (values, halves) in vectors.iter().zip(halves) {
        // SAFETY: both have sixteen numbers; a vector of bfloat16 has the bits of integers.
        unsafe {
            let half = _mm512_cvtneps_pbh(_mm512_loadu_ps(values.as_ptr()));
            let half = std::mem::transmute::<__m256bh, __m256i>(half);
            _mm256_storeu_si256(halves.as_mut_ptr().cast(), half);
        }
    }
    for (value, half) in rest.iter().zip(last) {
        *half = round_to_bf16(*value);
    }
}
