//! Which of libtorch's kernels a program computes with on the CPU.

use gpt2_model::Arithmetic;

/// libtorch reads it when it computes for the first time.
const CAPABILITY: &str = "ATEN_CPU_CAPABILITY";

/// Takes libtorch's kernels for 256-bit vectors also on CPUs with wider ones, if
/// the run is to have the book's rounding: kernels for 512 bits sum in another
/// order. A capability that the user's environment names stays.
///
/// To be called while the program has one thread and has not computed anything.
pub(crate) fn choose(arithmetic: Arithmetic) {
    #[cfg(target_arch = "x86_64")]
    if arithmetic == Arithmetic::Stepwise
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::env::var_os(CAPABILITY).is_none()
    {
        // SAFETY: nobody else reads or writes the environment meanwhile, since
        // the caller vouches for a single thread.
        unsafe { std::env::set_var(CAPABILITY, "avx2") };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (arithmetic, CAPABILITY);
}
