//! Signals: Ctrl-C, termination, file size limits.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::error::{Error, Result};

/// Exit code after Ctrl-C, as in shells.
const INTERRUPTED: i32 = 130;

/// Signals within this time are one request: `timeout` signals the program and its process group,
/// and terminals repeat a key that is held down.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// Returns a flag that Ctrl-C and a request to terminate set; a second one ends the process
/// at once.
pub(crate) fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (requested, mut first) = (stop.clone(), None);
    ctrlc::set_handler(move || {
        requested.store(true, Ordering::SeqCst);
        if is_second_request(&mut first, Instant::now()) {
            let _ = writeln!(
                io::stderr(),
                "stopped at once; --resume continues from the last checkpoint, if there is one"
            );
            end_at_once(INTERRUPTED);
        }
    })
    .map_err(|error| Error::Signals(error.to_string()))?;
    Ok(stop)
}

/// Makes Ctrl-C and a request to terminate end the process at once, with a line break after the text
/// that is on the terminal.
///
/// # Errors
/// [`Error::Signals`] if the signals cannot be handled.
pub fn end_line_on_interrupt() -> Result<()> {
    let end = || {
        let mut output = io::stdout();
        let _ = output.write_all(b"\n").and_then(|()| output.flush());
        end_at_once(INTERRUPTED)
    };
    ctrlc::set_handler(end).map_err(|error| Error::Signals(error.to_string()))
}

/// Returns whether a signal follows the first one after longer than [`ONE_REQUEST`].
fn is_second_request(first: &mut Option<Instant>, now: Instant) -> bool {
    now.duration_since(*first.get_or_insert(now)) > ONE_REQUEST
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
/// compute with, and take a while.
pub(super) fn end_at_once(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: it only ends the process.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_within_a_second_are_one_request() {
        let (mut first, begin) = (None, Instant::now());
        let after = |milliseconds| begin + Duration::from_millis(milliseconds);
        let seen = [0, 1, 900, 1100, 5000];
        let seconds = seen.map(|time| is_second_request(&mut first, after(time)));
        assert_eq!(seconds, [false, false, false, true, true]);
    }
}
