//! A progress bar where there is a terminal, and text that is written beside it.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// What a run shows on standard error. Without a terminal there is no bar.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    is_terminal: bool,
}

impl Bar {
    pub fn new() -> Self {
        Self { bar: None, is_terminal: io::stderr().is_terminal() }
    }

    /// Writes a line.
    pub fn say(&self, line: &str) {
        self.write(&mut io::stderr(), &format!("{line}\n"));
    }

    /// Writes text. Nobody may listen any more, to a pipe into `head` for example:
    /// that is no reason to end a training run.
    pub fn write(&self, stream: &mut dyn Write, text: &str) {
        let mut write = || {
            let _ = stream.write_all(text.as_bytes());
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Something begins that has no measure.
    pub fn stage(&mut self, what: &str) {
        if self.is_terminal {
            let bar = ProgressBar::new_spinner();
            bar.set_message(what.to_owned());
            self.open(bar, "{spinner} {msg}");
        } else {
            self.say(what);
        }
    }

    /// Training begins, after `done` of `steps` steps; `line` says so where there
    /// is no terminal.
    pub fn training(&mut self, done: usize, steps: usize, line: &str) {
        if self.is_terminal {
            let bar = ProgressBar::new(steps as u64).with_position(done as u64);
            bar.reset_eta();
            self.open(bar, "training {wide_bar} {pos}/{len} steps, {eta} left, {msg}");
        } else {
            self.say(line);
        }
    }

    /// Something is counted of which nobody knows how much there is.
    pub fn counting(&mut self) {
        if self.is_terminal {
            self.open(ProgressBar::new_spinner(), "{spinner} {msg}");
        }
    }

    /// So many steps are done. Whether there is a bar that shows it.
    pub fn set(&self, done: usize, message: &str) -> bool {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(message.to_owned());
        }
        self.bar.is_some()
    }

    /// Takes the bar away.
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
