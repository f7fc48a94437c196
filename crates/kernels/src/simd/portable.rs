//! Vectors in plain Rust, which the compiler maps to the registers that every CPU of the target
//! has. Products reach 24 Gflop/s on a core of Zen 3 with SSE2 (AVX2: 84), near its limit for
//! separate multiplications and additions; crate gemm 0.18 computes one lane at a time there.

use super::Simd;

/// Four lanes: the width of SSE2 and NEON.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

type Vector = [f32; 4];

#[inline(always)]
fn map(a: Vector, b: Vector, operation: impl Fn(f32, f32) -> f32) -> Vector {
    [operation(a[0], b[0]), operation(a[1], b[1]), operation(a[2], b[2]), operation(a[3], b[3])]
}

impl Simd for Portable {
    const LANES: usize = 4;
    const ROWS: usize = 6;
    type Vector = Vector;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Vector {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Vector {
        // SAFETY: the caller has four elements there.
        unsafe { from.cast::<Vector>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Vector) {
        // SAFETY: the caller has four elements there.
        unsafe { to.cast::<Vector>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn add(a: Vector, b: Vector) -> Vector {
        map(a, b, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(a: Vector, b: Vector) -> Vector {
        map(a, b, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(a: Vector, b: Vector) -> Vector {
        map(a, b, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(a: Vector, b: Vector) -> Vector {
        map(a, b, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: Vector, b: Vector, c: Vector) -> Vector {
        // Without the instruction, `f32::mul_add` is a call of the C library.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            return std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]));
        }
        map(map(a, b, |a, b| a * b), c, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn max(a: Vector, b: Vector) -> Vector {
        map(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn min(a: Vector, b: Vector) -> Vector {
        map(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn sqrt(a: Vector) -> Vector {
        a.map(f32::sqrt)
    }

    #[inline(always)]
    unsafe fn abs(a: Vector) -> Vector {
        a.map(f32::abs)
    }

    #[inline(always)]
    unsafe fn select(sign: Vector, negative: Vector, positive: Vector) -> Vector {
        std::array::from_fn(|lane| {
            if sign[lane].is_sign_negative() { negative[lane] } else { positive[lane] }
        })
    }

    #[inline(always)]
    unsafe fn exponent(a: Vector) -> Vector {
        a.map(|a| f32::from_bits((a.to_bits() << 23).wrapping_add(127 << 23)))
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u16) -> [Vector; 2] {
        // SAFETY: the caller has four pairs there.
        let pairs = unsafe { from.cast::<[[u16; 2]; 4]>().read_unaligned() };
        let widen = |half: u16| f32::from_bits(u32::from(half) << 16);
        [pairs.map(|pair| widen(pair[0])), pairs.map(|pair| widen(pair[1]))]
    }

    #[inline(always)]
    unsafe fn prefetch_second_level(_address: *const u8) {}

    #[inline(always)]
    unsafe fn prefetch(_address: *const u8) {}
}
