//! Settings of the memory allocator and of libtorch's instruction set.

use gpt2_model::Arithmetic;

/// Environment variable that libtorch reads at its first computation.
const CAPABILITY: &str = "ATEN_CPU_CAPABILITY";

/// Prepares a process for training:
///
/// * Freed memory is kept for the next tensor. If the C library returned it to the system,
///   as it does with large blocks, every activation of every step would have to be mapped
///   and zeroed again.
/// * A run with the book's rounding uses libtorch's kernels for 256-bit vectors also on
///   CPUs with wider ones, whose kernels sum in another order. A capability set by the user
///   is kept.
///
/// To be called while the process has one thread and has not computed anything.
pub fn prepare_process(arithmetic: Arithmetic) {
    keep_memory();
    #[cfg(target_arch = "x86_64")]
    if arithmetic == Arithmetic::Stepwise
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::env::var_os(CAPABILITY).is_none()
    {
        // SAFETY: the caller guarantees a single thread, so nothing else accesses the
        // environment.
        unsafe { std::env::set_var(CAPABILITY, "avx2") };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (arithmetic, CAPABILITY);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_memory() {
    /// No block of a training step is larger than the first; a C library that refuses it
    /// may accept the second.
    const THRESHOLDS: [libc::c_int; 2] = [1 << 30, 32 << 20];
    for threshold in THRESHOLDS {
        // SAFETY: it only changes how later allocations are made.
        if unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, threshold) } == 1 {
            // Both or neither: setting one ends the automatic growth of the threshold, and
            // every large tensor would be mapped again.
            // SAFETY: as above.
            unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) };
            return;
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_memory() {}

/// Returns freed memory to the system: after a model is loaded or merged, gaps that are too small
/// for what follows add up to half as much as the model itself.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn release_free_memory() {
    // SAFETY: it changes no memory that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Returns freed memory to the system, where the C library can.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn release_free_memory() {}
