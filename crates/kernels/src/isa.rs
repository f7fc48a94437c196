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
    /// AVX-512F with products of bfloat16 tiles (Intel AMX).
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Isa {
    /// The instruction set that every CPU has.
    pub const PORTABLE: Self = Self(Level::Portable);

    /// Names of all instruction sets of this architecture, slowest first.
    #[cfg(target_arch = "x86_64")]
    pub const NAMES: &[&str] = &["portable", "avx2", "avx512", "avx512-bf16", "amx"];
    /// Names of all instruction sets of this architecture, slowest first.
    #[cfg(not(target_arch = "x86_64"))]
    pub const NAMES: &[&str] = &["portable"];

    /// Returns the fastest instruction set of this CPU.
    #[cfg(target_arch = "x86_64")]
    pub fn detect() -> Self {
        Self::available().pop().unwrap_or(Self::PORTABLE)
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
                    if has_amx() {
                        available.push(Self(Level::Amx));
                    }
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
            #[cfg(target_arch = "x86_64")]
            Level::Amx => "amx",
        }
    }

    /// Returns whether there are instructions for products of bfloat16, without which they are slower
    /// than products of float32.
    pub fn multiplies_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let multiplies = matches!(self.0, Level::Avx512Bf16 | Level::Amx);
        #[cfg(not(target_arch = "x86_64"))]
        let multiplies = false;
        multiplies
    }

    pub(crate) fn level(self) -> Level {
        self.0
    }
}

/// Returns whether the CPU has AMX with bfloat16 and Linux lets this process use it, which is asked
/// once: tiles enlarge the state of a thread, so the kernel wants a request
/// (<https://docs.kernel.org/arch/x86/xstate.html>). The standard library detects AMX in nightly
/// versions only.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_amx() -> bool {
    use std::{arch::x86_64::__cpuid_count, sync::LazyLock};

    /// Bits of CPUID leaf 7 (Intel SDM): AMX-BF16 and AMX-TILE.
    const AMX: u32 = 1 << 22 | 1 << 24;
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    static HAS_AMX: LazyLock<bool> = LazyLock::new(|| {
        let is_permitted = || {
            // SAFETY: the call takes two numbers and changes no memory of this process.
            let result = unsafe {
                libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
            };
            result == 0
        };
        __cpuid_count(7, 0).edx & AMX == AMX && is_permitted()
    });
    *HAS_AMX
}

/// Returns whether the process may use AMX, which needs Linux.
#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn has_amx() -> bool {
    false
}

impl fmt::Display for Isa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
