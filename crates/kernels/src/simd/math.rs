//! Functions that instruction sets do not have.

#![allow(clippy::excessive_precision, reason = "constants have the digits of their sources")]

use super::Simd;

/// Added to a small number, leaves its nearest integer in the low bits (1.5 · 2^23).
const ROUND: f32 = 12_582_912.0;
/// Natural logarithm of 2, and the difference from it, as in Cephes' `expf`: the first times an
/// exponent is exact.
const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `e^x` of every lane, relative error below 2e-7 (Cephes' `expf`). Below −87.7 the result is 0,
/// above 88.4 infinity; NaN stays.
///
/// # Safety
/// The CPU has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::Vector) -> S::Vector {
    // SAFETY: the caller's promise.
    unsafe {
        let x = S::min(S::splat(89.0), S::max(S::splat(-88.0), x));
        let rounded = S::add(S::mul(x, S::splat(std::f32::consts::LOG2_E)), S::splat(ROUND));
        let exponent = S::sub(rounded, S::splat(ROUND));
        let rest = S::sub(x, S::mul(exponent, S::splat(LN2[0])));
        let rest = S::sub(rest, S::mul(exponent, S::splat(LN2[1])));
        let mut polynomial = S::splat(1.987_569_1e-4);
        for coefficient in
            [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.000_000_1e-1]
        {
            polynomial = S::mul_add(polynomial, rest, S::splat(coefficient));
        }
        let square = S::mul(rest, rest);
        let power = S::add(S::mul_add(polynomial, square, rest), S::splat(1.0));
        S::mul(power, S::exponent(rounded))
    }
}

/// Complementary error function of lanes that are not negative, relative error below 2e-7 near 0
/// and 4e-6 at 10 (Press et al., *Numerical Recipes in C*, section 6.2).
///
/// # Safety
/// The CPU has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn erfc<S: Simd>(z: S::Vector) -> S::Vector {
    // SAFETY: the caller's promise.
    unsafe {
        let t = S::div(S::splat(1.0), S::mul_add(z, S::splat(0.5), S::splat(1.0)));
        let mut polynomial = S::splat(0.170_872_77);
        for coefficient in [
            -0.822_152_23,
            1.488_515_87,
            -1.135_203_98,
            0.278_868_07,
            -0.186_288_06,
            0.096_784_18,
            0.374_091_96,
            1.000_023_68,
            -1.265_512_23,
        ] {
            polynomial = S::mul_add(polynomial, t, S::splat(coefficient));
        }
        S::mul(t, exp::<S>(S::sub(polynomial, S::mul(z, z))))
    }
}
