//! Vectors of float32, one implementation for each instruction set.
//!
//! A kernel is one generic function over [`Simd`], marked `#[inline(always)]`; [`dispatch!`]
//! compiles it once for each instruction set, inside a function that enables it.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod math;
pub(crate) mod portable;

/// A vector of `LANES` float32 numbers.
///
/// # Safety
/// The functions of an implementation may be called only on CPUs that have its instructions.
/// Loads and stores need `LANES` (or `count`) elements behind their pointer, of any alignment.
pub(crate) trait Simd: Copy {
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of a tile: with two vectors a row, what the registers hold.
    const ROWS: usize;
    /// The vector.
    type Vector: Copy;

    unsafe fn splat(value: f32) -> Self::Vector;
    unsafe fn load(from: *const f32) -> Self::Vector;
    unsafe fn store(to: *mut f32, value: Self::Vector);
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn div(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once where the instruction set can.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a > b ? a : b`: the second operand if either is NaN.
    unsafe fn max(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a < b ? a : b`: the second operand if either is NaN.
    unsafe fn min(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn sqrt(a: Self::Vector) -> Self::Vector;
    unsafe fn abs(a: Self::Vector) -> Self::Vector;
    /// `negative` in lanes where the sign bit of `sign` is set, else `positive`.
    unsafe fn select(
        sign: Self::Vector,
        negative: Self::Vector,
        positive: Self::Vector,
    ) -> Self::Vector;
    /// 2 to the power of the integer in the low bits of `a` (−127 gives 0, 128 infinity).
    unsafe fn exponent(a: Self::Vector) -> Self::Vector;
    /// The lower and the upper halves of `LANES` pairs of bfloat16, widened.
    unsafe fn load_bf16_pairs(from: *const u16) -> [Self::Vector; 2];
    /// Fetches the cache line of an address, valid or not, into the first-level cache.
    unsafe fn prefetch(address: *const u8);
    /// As [`Simd::prefetch`], into the second-level cache.
    unsafe fn prefetch_second_level(address: *const u8);

    /// Transposes eight rows of eight numbers, `stride` apart in `from` and `to_stride` in `to`.
    #[inline(always)]
    unsafe fn turn(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        for row in 0..8 {
            for column in 0..8 {
                // SAFETY: the caller's promise.
                unsafe { *to.add(column * to_stride + row) = *from.add(row * stride + column) };
            }
        }
    }

    /// The first `count <= LANES` numbers, then zeros.
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self::Vector {
        // SAFETY: `count` elements are readable; the buffer holds a whole vector.
        unsafe {
            if count >= Self::LANES {
                return Self::load(from);
            }
            let mut buffer = [0.0_f32; 16];
            std::ptr::copy_nonoverlapping(from, buffer.as_mut_ptr(), count);
            Self::load(buffer.as_ptr())
        }
    }

    /// Stores the first `count <= LANES` numbers.
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: Self::Vector, count: usize) {
        // SAFETY: `count` elements are writable; the buffer holds a whole vector.
        unsafe {
            if count >= Self::LANES {
                return Self::store(to, value);
            }
            let mut buffer = [0.0_f32; 16];
            Self::store(buffer.as_mut_ptr(), value);
            std::ptr::copy_nonoverlapping(buffer.as_ptr(), to, count);
        }
    }

    /// The sum of all lanes, in a fixed order.
    #[inline(always)]
    unsafe fn sum(value: Self::Vector) -> f32 {
        let mut buffer = [0.0_f32; 16];
        // SAFETY: the buffer holds a whole vector.
        unsafe { Self::store(buffer.as_mut_ptr(), value) };
        let mut width = Self::LANES;
        while width > 1 {
            width /= 2;
            for lane in 0..width {
                buffer[lane] += buffer[lane + width];
            }
        }
        buffer[0]
    }

    /// The sums of the lanes of four vectors, each in the same fixed order.
    #[inline(always)]
    unsafe fn sums(values: [Self::Vector; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        for (sum, value) in sums.iter_mut().zip(values) {
            // SAFETY: the caller's promise.
            *sum = unsafe { Self::sum(value) };
        }
        sums
    }
}

/// Defines a function that calls a generic `#[inline(always)]` kernel for the instruction set of
/// its first argument. The kernel's own contract passes on to the caller.
macro_rules! dispatch {
    ($(#[$meta:meta])* unsafe fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?
        = $kernel:ident $(::<$($generic:ty),+>)?) => {
        $(#[$meta])*
        // SAFETY: as for the kernel; `Isa` exists only for instruction sets of this CPU.
        unsafe fn $name(isa: $crate::isa::Isa, $($argument: $type),*) $(-> $result)? {
            use $crate::{isa::Level, simd::portable::Portable};
            #[cfg(target_arch = "x86_64")]
            use $crate::simd::{avx2::Avx2, avx512::Avx512};
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($argument: $type),*) $(-> $result)? {
                // SAFETY: the features are enabled; the rest is the caller's promise.
                unsafe { $kernel::<Avx2 $($(, $generic)+)?>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            unsafe fn avx512($($argument: $type),*) $(-> $result)? {
                // SAFETY: as above.
                unsafe { $kernel::<Avx512 $($(, $generic)+)?>($($argument),*) }
            }
            // SAFETY: the CPU has the instructions of `isa`.
            unsafe {
                match isa.level() {
                    Level::Portable => $kernel::<Portable $($(, $generic)+)?>($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => avx2($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 | Level::Avx512Bf16 | Level::Amx => avx512($($argument),*),
                }
            }
        }
    };
}
pub(crate) use dispatch;
