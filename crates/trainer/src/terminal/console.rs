//! A run on the terminal: a bar where there is one, plain lines where the
//! output is piped. Everything goes to standard error; results are not printed
//! here.

use std::io;

use gpt2_model::{TreeLine, format_tree};

use crate::{terminal::progress_bar::Bar, training::event::Event, training::observer::Observer};

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
    bar: Bar,
    show_model: ShowModel,
    steps: usize,
}

impl Console {
    /// A console.
    pub fn new(show_model: ShowModel) -> Self {
        Self { bar: Bar::new(), show_model, steps: 0 }
    }
}

impl Observer for Console {
    fn stage(&mut self, what: &str) {
        self.bar.stage(what);
    }

    fn notice(&mut self, what: &str) {
        self.bar.say(&format!("note: {}", gpt2_model::plain(what)));
    }

    fn model(&mut self, tree: &[TreeLine]) {
        match self.show_model {
            ShowModel::No => {}
            ShowModel::Stdout => self.bar.write(&mut io::stdout(), &format_tree(tree)),
            ShowModel::Stderr => self.bar.write(&mut io::stderr(), &format_tree(tree)),
        }
    }

    fn training(&mut self, steps: usize) {
        self.steps = steps;
        self.bar.training(0, steps, &format!("training, {steps} steps"));
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Initial { train_accuracy, validation_accuracy, test_accuracy } => {
                self.bar.say(&format!(
                    "before training: accuracy train {:.1} %, validation {:.1} %, test {:.1} % \
                     (first batches)",
                    100.0 * train_accuracy,
                    100.0 * validation_accuracy,
                    100.0 * test_accuracy
                ));
            }
            Event::Step { step, epoch, loss, .. } => {
                self.bar.set(step + 1, &format!("epoch {epoch}, loss {loss:.3}"));
            }
            Event::Eval { step, train_loss, validation_loss } => {
                let width = self.steps.to_string().len();
                self.bar.say(&format!(
                    "step {step:>width$}: train loss {train_loss:.3}, \
                     validation loss {validation_loss:.3}"
                ));
            }
            Event::Epoch { epoch, train_accuracy, validation_accuracy } => {
                self.bar.say(&format!(
                    "epoch {epoch}: accuracy train {:.1} %, validation {:.1} % (few batches)",
                    100.0 * train_accuracy,
                    100.0 * validation_accuracy
                ));
            }
            Event::Validation { epoch, loss, accuracy, is_best } => {
                self.bar.say(&format!(
                    "epoch {epoch}: whole validation part: loss {loss:.4}, accuracy {:.1} %{}",
                    100.0 * accuracy,
                    if *is_best { ", the best so far" } else { "" }
                ));
            }
            Event::Final { .. } => self.bar.close(),
        }
    }
}
