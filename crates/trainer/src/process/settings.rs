//! Settings of the whole process, made before it computes.

use gpt2_model::Arithmetic;

/// libtorch reads it when it computes for the first time.
const CAPABILITY: &str = "ATEN_CPU_CAPABILITY";

/// Prepares a process for training:
///
/// * Memory that is freed is kept for the next tensor. Given back to the system,
///   as the C library does with large pieces, it would have to be mapped and
///   zeroed anew for every activation of every step.
/// * A run that is to have the book's rounding takes libtorch's kernels for 256-bit
///   vectors also on CPUs with wider ones, whose kernels sum in another order. A
///   capability that the user's environment names stays.
///
/// To be called while the program has one thread and has not computed anything.
pub fn prepare_process(arithmetic: Arithmetic) {
    keep_memory();
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

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_memory() {
    /// Larger pieces than the first are none of a training step; a C library that
    /// does not take that much may take the second.
    const PIECES: [libc::c_int; 2] = [1 << 30, 32 << 20];
    for piece in PIECES {
        // SAFETY: it only changes how later allocations are made.
        if unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, piece) } == 1 {
            // Not without the other: to set it ends the growth of the threshold by
            // itself, and every large tensor would be mapped anew.
            // SAFETY: as above.
            unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) };
            return;
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_memory() {}

/// A file that may not grow any more (`ulimit -f`) is an error of the write, and not the
/// end of the program.
#[cfg(unix)]
pub(crate) fn outlive_file_limits() {
    // SAFETY: that a signal is ignored has no other effect.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Ends the process while others of its threads compute, and without what is done at the
/// end of a program: that would take from under them what they compute with.
pub(crate) fn end_at_once(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: it only ends the process.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}
