//! Progress: a bar on a terminal, plain lines when piped.

use std::{io::IsTerminal, time::Duration};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Shows bytes done, on standard error.
pub struct Progress {
    what: String,
    bar: Option<ProgressBar>,
    total: Option<u64>,
    done: u64,
    /// Tenths of the whole that a line was written for.
    said: u64,
}

impl Progress {
    /// Starts at `done` bytes of `total`.
    pub fn new(what: &str, done: u64, total: Option<u64>) -> Self {
        let mut progress = Self { what: what.to_owned(), bar: None, total, done, said: 0 };
        if std::io::stderr().is_terminal() {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let template = match total {
                Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
                None => "{spinner} {msg} {bytes} {bytes_per_sec}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar.set_message(progress.what.clone());
            bar.set_position(done);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(120));
            progress.bar = Some(bar);
        } else {
            let from =
                if done > 0 { format!(", from {}", HumanBytes(done)) } else { String::new() };
            let size = total.map_or(String::new(), |total| format!(" ({})", HumanBytes(total)));
            say!("{what}{size}{from}");
            progress.said = progress.tenths();
        }
        progress
    }

    fn tenths(&self) -> u64 {
        self.total.map_or(0, |total| self.done.saturating_mul(10) / total.max(1))
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: u64) {
        self.done += bytes;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            // Small files are there at once: a line for each would be noise.
            None if self.total.is_some_and(|total| total > 50_000_000) => {
                let tenths = self.tenths();
                if tenths > self.said && tenths < 10 {
                    say!("{}: {} %", self.what, 10 * tenths);
                    self.said = tenths;
                }
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
