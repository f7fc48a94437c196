//! Signals: Ctrl-C, termination, file size limits.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::error::{Error, Result};

/// Exit code after a second Ctrl-C, as in shells.
const INTERRUPTED: i32 = 130;

/// Returns a flag that Ctrl-C and a request to terminate set; a second one ends the process
/// at once.
pub(crate) fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let requested = stop.clone();
    ctrlc::set_handler(move || {
        if requested.swap(true, Ordering::SeqCst) {
            end_at_once(INTERRUPTED);
        }
    })
    .map_err(|error| Error::Signals(error.to_string()))?;
    Ok(stop)
}

/// Makes a write beyond the file size limit (`ulimit -f`) an error instead of the end of
/// the process.
pub(super) fn ignore_file_size_signal() {
    #[cfg(unix)]
    // SAFETY: ignoring a signal has no other effect.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN)
    };
}

/// Ends the process without exit handlers, which would destroy what other threads still
/// compute with.
fn end_at_once(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: it only ends the process.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}
