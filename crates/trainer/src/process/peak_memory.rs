//! Peak memory of the process.

/// Returns the largest resident set size of the process so far, in bytes; `None` on systems
/// that do not report it.
pub fn peak_memory() -> Option<u64> {
    #[cfg(unix)]
    {
        // SAFETY: `rusage` is a struct of integers, of which zero is a valid value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `usage` is a valid place for the result.
        if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
            return None;
        }
        // Apple's systems report bytes, others KiB.
        let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
        u64::try_from(usage.ru_maxrss).ok().map(|size| size * unit)
    }
    #[cfg(not(unix))]
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn peak_grows_with_an_allocation() {
        let before = peak_memory().unwrap();
        let block = vec![1u8; 64 << 20];
        assert!(block.iter().step_by(4096).all(|&byte| byte == 1));
        let after = peak_memory().unwrap();
        // Other tests may have reached the first part of it before.
        assert!(after >= 64 << 20 && after >= before, "{before} {after}");
    }
}
