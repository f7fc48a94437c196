//! Progress bar on a terminal, and lines printed above it.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// Progress on standard error. Without a terminal there is no bar.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    is_terminal: bool,
}

impl Bar {
    pub fn new() -> Self {
        Self { bar: None, is_terminal: io::stderr().is_terminal() }
    }

    /// Prints a line.
    pub fn print(&self, line: &str) {
        self.write(&mut io::stderr(), &format!("{line}\n"));
    }

    /// Writes text. A closed pipe does not end a training run.
    pub fn write(&self, stream: &mut dyn Write, text: &str) {
        let mut write = || {
            let _ = stream.write_all(text.as_bytes());
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Shows a phase of unknown length.
    pub fn stage(&mut self, name: &str) {
        if self.is_terminal {
            let bar = ProgressBar::new_spinner();
            bar.set_message(name.to_owned());
            self.open(bar, "{spinner} {msg}");
        } else {
            self.print(name);
        }
    }

    /// Shows the progress of training after `done` of `steps` steps; prints `line` instead
    /// without a terminal.
    pub fn training(&mut self, done: usize, steps: usize, line: &str) {
        if self.is_terminal {
            let bar = ProgressBar::new(steps as u64).with_position(done as u64);
            bar.reset_eta();
            self.open(
                bar,
                "{prefix} {wide_bar} {pos}/{len} [{elapsed_precise}<{eta_precise}] {msg}",
            );
        } else {
            self.print(line);
        }
    }

    /// Shows a counter of unknown maximum.
    pub fn counting(&mut self) {
        if self.is_terminal {
            self.open(ProgressBar::new_spinner(), "{spinner} {msg}");
        }
    }

    /// Sets the number of steps, the epoch and the values after them. Returns whether there is
    /// a bar.
    pub fn set_step(&self, done: usize, epoch: &str, values: &str) -> bool {
        if let Some(bar) = &self.bar {
            bar.set_prefix(epoch.to_owned());
        }
        self.set(done, values)
    }

    /// Sets position and message. Returns whether there is a bar.
    pub fn set(&self, done: usize, message: &str) -> bool {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(message.to_owned());
        }
        self.bar.is_some()
    }

    /// Removes the bar.
    pub fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn open(&mut self, bar: ProgressBar, template: &str) {
        self.close();
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        self.bar = Some(bar);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.close();
    }
}
