//! Counter of rows of unknown total.

use std::time::{Duration, Instant};

use indicatif::HumanCount;

use crate::terminal::progress_bar::Bar;

/// Time between two lines without a terminal.
const PAUSE: Duration = Duration::from_secs(10);

/// Counter on standard error: a spinner on a terminal, else a line every 10 seconds.
#[derive(Debug)]
pub struct Counter {
    bar: Bar,
    unit: &'static str,
    last_line: Instant,
}

impl Counter {
    /// Creates a counter of `unit`, for example "rows classified".
    pub fn new(unit: &'static str) -> Self {
        let mut bar = Bar::new();
        bar.counting();
        Self { bar, unit, last_line: Instant::now() }
    }

    /// Shows a count.
    pub fn set(&mut self, done: usize) {
        let line = format!("{} {}", HumanCount(done as u64), self.unit);
        if !self.bar.set(done, &line) && self.last_line.elapsed() >= PAUSE {
            self.bar.print(&line);
            self.last_line = Instant::now();
        }
    }
}
