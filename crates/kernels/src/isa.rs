//! Instruction sets and their detection.

use std::fmt;

/// An instruction set that this CPU has. Kernels compute with the one they are given; only its
/// constructors make one, so that a kernel never meets an instruction that the CPU lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Isa(Level);

/// Instruction sets, each faster than the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Level {
    /// Baseline of the target: SSE2 on x86-64, NEON on AArch64.
    Portable,
    /// AVX2 and FMA, 8 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512F, 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512F with products of bfloat16 pairs (`vdpbf16ps`).
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl Isa {
    /// The instruction set that every CPU has.
    pub const PORTABLE: Self = Self(Level::Portable);

    /// Names of all instruction sets of this architecture, slowest first.
    #[cfg(target_arch = "x86_64")]
    pub const NAMES: &[&str] = &["portable", "avx2", "avx512", "avx512-bf16"];
    /// Names of all instruction sets of this architecture, slowest first.
    #[cfg(not(target_arch = "x86_64"))]
    pub const NAMES: &[&str] = &["portable"];

    /// Returns the fastest instruction set of this CPU.
    #[cfg(target_arch = "x86_64")]
    pub fn detect() -> Self {
        let avx512 = is_x86_feature_detected!("avx512f");
        if avx512 && is_x86_feature_detected!("avx512bf16") {
            Self(Level::Avx512Bf16)
        } else if avx512 {
            Self(Level::Avx512)
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            Self(Level::Avx2)
        } else {
            Self::PORTABLE
        }
    }

    /// Returns the fastest instruction set of this CPU.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn detect() -> Self {
        Self::PORTABLE
    }

    /// Returns the instruction sets of this CPU, slowest first; [`Isa::PORTABLE`] is always there.
    pub fn available() -> Vec<Self> {
        let mut available = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                available.push(Self(Level::Avx2));
            }
            if is_x86_feature_detected!("avx512f") {
                available.push(Self(Level::Avx512));
                if is_x86_feature_detected!("avx512bf16") {
                    available.push(Self(Level::Avx512Bf16));
                }
            }
        }
        available
    }

    /// Returns the name, one of [`Isa::NAMES`].
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => "avx512-bf16",
        }
    }

    /// Returns whether these kernels are the fastest for products of bfloat16: there are instructions
    /// for them, without which they are slower than products of float32, and no matrix unit (Intel
    /// AMX), which oneDNN uses and these kernels do not.
    pub fn is_fastest_in_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let multiplies = self.0 == Level::Avx512Bf16 && !has_amx_bf16();
        #[cfg(not(target_arch = "x86_64"))]
        let multiplies = false;
        multiplies
    }

    pub(crate) fn level(self) -> Level {
        self.0
    }
}

/// Returns whether the CPU has AMX-BF16 (Intel SDM, CPUID leaf 7). The standard library detects it
/// in nightly versions only.
#[cfg(target_arch = "x86_64")]
fn has_amx_bf16() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    std::arch::x86_64::__cpuid_count(7, 0).edx & AMX_BF16 != 0
}

impl fmt::Display for Isa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
