//! Standard output whose reader may go away.

use std::{
    error::Error,
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};

/// Set when [`StandardOutput`] has met a closed pipe.
static READER_IS_GONE: AtomicBool = AtomicBool::new(false);

/// Standard output that remembers a closed pipe, whatever a library makes of the error.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandardOutput;

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).inspect_err(remember)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().inspect_err(remember)
    }
}

fn remember(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        READER_IS_GONE.store(true, Ordering::Relaxed);
    }
}

/// Returns whether a command failed because the reader of its output has gone away, as in
/// `gpt2-lora … | head -1`. The reader has all it wanted, so the command has succeeded.
pub fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref().is_some_and(is_closed) {
            return true;
        }
        cause = error.source();
    }
    READER_IS_GONE.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_pipe_is_found_in_every_error_of_the_libraries() {
        let write = |kind| storage::Error::write("standard output")(io::Error::from(kind));
        let broken = io::ErrorKind::BrokenPipe;
        assert!(is_broken_pipe(&write(broken)));
        assert!(is_broken_pipe(&dataset::Error::from(write(broken))));
        assert!(is_broken_pipe(&crate::Error::from(write(broken))));
        assert!(is_broken_pipe(&crate::Error::from(dataset::Error::from(write(broken)))));
        assert!(!is_broken_pipe(&write(io::ErrorKind::StorageFull)));
        assert!(!is_broken_pipe(&crate::Error::Internal("broken pipe")));
    }
}
