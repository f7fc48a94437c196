//! A run on the terminal: a bar where there is one, plain lines where the
//! output is piped. Everything goes to standard error; results are not printed
//! here.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use gpt2_model::{TreeLine, format_tree};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{events::Event, observer::Observer};

/// Where the modules of the adapted model are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShowModel {
    /// Nowhere.
    #[default]
    No,
    /// On standard output, as a result.
    Stdout,
    /// On standard error, where the results are for a program to read.
    Stderr,
}

/// Shows a run on standard error.
#[derive(Debug)]
pub struct Console {
    bar: Option<ProgressBar>,
    is_terminal: bool,
    show_model: ShowModel,
    steps: usize,
}

impl Console {
    /// A console.
    pub fn new(show_model: ShowModel) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { bar: None, is_terminal, show_model, steps: 0 }
    }

    fn say(&self, line: &str) {
        self.write(&mut io::stderr(), &format!("{line}\n"));
    }

    /// Nobody may listen any more, to a pipe into `head` for example: that is no
    /// reason to end a training run.
    fn write(&self, stream: &mut dyn Write, text: &str) {
        let mut write = || {
            let _ = stream.write_all(text.as_bytes());
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn close(&mut self) {
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

impl Observer for Console {
    fn stage(&mut self, what: &str) {
        if self.is_terminal {
            self.open(ProgressBar::new_spinner(), "{spinner} {msg}");
            if let Some(bar) = &self.bar {
                bar.set_message(what.to_owned());
            }
        } else {
            self.say(what);
        }
    }

    fn notice(&mut self, what: &str) {
        self.say(&format!("note: {what}"));
    }

    fn model(&mut self, tree: &[TreeLine]) {
        match self.show_model {
            ShowModel::No => {}
            ShowModel::Stdout => self.write(&mut io::stdout(), &format_tree(tree)),
            ShowModel::Stderr => self.write(&mut io::stderr(), &format_tree(tree)),
        }
    }

    fn training(&mut self, steps: usize) {
        self.steps = steps;
        if self.is_terminal {
            let template = "training {wide_bar} {pos}/{len} steps, {eta} left, {msg}";
            self.open(ProgressBar::new(steps as u64), template);
        } else {
            self.say(&format!("training, {steps} steps"));
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Initial { train_accuracy, validation_accuracy, test_accuracy } => {
                self.say(&format!(
                    "before training: accuracy train {:.1} %, validation {:.1} %, test {:.1} % \
                     (first batches)",
                    100.0 * train_accuracy,
                    100.0 * validation_accuracy,
                    100.0 * test_accuracy
                ));
            }
            Event::Step { step, epoch, loss, .. } => {
                if let Some(bar) = &self.bar {
                    bar.set_position(*step as u64 + 1);
                    bar.set_message(format!("epoch {epoch}, loss {loss:.3}"));
                }
            }
            Event::Eval { step, train_loss, validation_loss } => {
                let width = self.steps.to_string().len();
                self.say(&format!(
                    "step {step:>width$}: train loss {train_loss:.3}, \
                     validation loss {validation_loss:.3}"
                ));
            }
            Event::Epoch { epoch, train_accuracy, validation_accuracy } => {
                self.say(&format!(
                    "epoch {epoch}: accuracy train {:.1} %, validation {:.1} % (few batches)",
                    100.0 * train_accuracy,
                    100.0 * validation_accuracy
                ));
            }
            Event::Final { .. } => self.close(),
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.close();
    }
}
