//! Rows counted on the terminal, where nobody knows how many will come.

use std::time::{Duration, Instant};

use indicatif::HumanCount;

use crate::terminal::progress_bar::Bar;

/// Time between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(10);

/// Says on standard error how far something has come: a spinner on a terminal, a
/// line now and then where it is piped.
#[derive(Debug)]
pub struct Counter {
    bar: Bar,
    what: &'static str,
    said: Instant,
}

impl Counter {
    /// Counts `what`, "rows classified" for example.
    pub fn new(what: &'static str) -> Self {
        let mut bar = Bar::new();
        bar.counting();
        Self { bar, what, said: Instant::now() }
    }

    /// So many are done.
    pub fn set(&mut self, done: usize) {
        let line = format!("{} {}", HumanCount(done as u64), self.what);
        if !self.bar.set(done, &line) && self.said.elapsed() >= PAUSE {
            self.bar.say(&line);
            self.said = Instant::now();
        }
    }
}
