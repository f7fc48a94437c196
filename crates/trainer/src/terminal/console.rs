//! A run on the terminal: a bar where there is one, plain lines where the
//! output is piped. Everything goes to standard error; results are not printed
//! here.

use std::{
    io,
    time::{Duration, Instant},
};

use gpt2_model::{TreeLine, format_tree};

use crate::{
    terminal::progress_bar::Bar,
    training::{
        event::Event,
        observer::{Observer, TrainingStart},
    },
};

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

/// Time between two lines of progress where there is no terminal.
const PAUSE: Duration = Duration::from_secs(30);

/// Shows a run on standard error.
#[derive(Debug)]
pub struct Console {
    bar: Bar,
    show_model: ShowModel,
    training: TrainingStart,
    began: Instant,
    last_line: Instant,
    /// Loss, smoothed over some steps.
    loss: Option<f64>,
}

impl Default for Console {
    /// A console that does not show the modules of the model.
    fn default() -> Self {
        Self::new(ShowModel::No)
    }
}

impl Console {
    /// Creates a console.
    pub fn new(show_model: ShowModel) -> Self {
        let (bar, training, now) = (Bar::new(), TrainingStart::default(), Instant::now());
        Self { bar, show_model, training, began: now, last_line: now, loss: None }
    }

    /// The bar, or a line now and then.
    fn step(&mut self, step: usize, epoch: usize, loss: f64, learning_rate: f64) {
        let smoothed = self.loss.map_or(loss, |before| 0.9 * before + 0.1 * loss);
        self.loss = Some(smoothed);
        let TrainingStart { steps, done, examples_per_step } = self.training;
        let (taken, seconds) = (step + 1 - done.min(step), self.began.elapsed().as_secs_f64());
        let rate = (taken * examples_per_step) as f64 / seconds.max(1e-9);
        let progress = format!(
            "epoch {epoch}, loss {smoothed:.3}, lr {learning_rate:.2e}, {rate:.1} examples/s"
        );
        if self.bar.set(step + 1, &progress) || self.last_line.elapsed() < PAUSE {
            return;
        }
        self.last_line = Instant::now();
        let left = seconds / taken as f64 * steps.saturating_sub(step + 1) as f64 / 60.0;
        self.bar.say(&format!("step {} of {steps}: {progress}, {left:.0} min left", step + 1));
    }
}

impl Observer for Console {
    fn stage(&mut self, what: &str) {
        self.bar.stage(what);
    }

    fn notice(&mut self, what: &str) {
        self.bar.say(&format!("note: {}", storage::terminal_safe(what)));
    }

    fn model(&mut self, tree: &[TreeLine]) {
        match self.show_model {
            ShowModel::No => {}
            ShowModel::Stdout => self.bar.write(&mut io::stdout(), &format_tree(tree)),
            ShowModel::Stderr => self.bar.write(&mut io::stderr(), &format_tree(tree)),
        }
    }

    fn training(&mut self, start: TrainingStart) {
        let TrainingStart { steps, done, .. } = start;
        self.training = start;
        (self.began, self.last_line) = (Instant::now(), Instant::now());
        self.bar.training(done, steps, &format!("training, {steps} steps"));
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Initial { train_accuracy, validation_accuracy, test_accuracy } => {
                self.bar.say(&format!(
                    "before training: accuracy train {:.1} %, validation {:.1} %{} (first batches)",
                    100.0 * train_accuracy,
                    100.0 * validation_accuracy,
                    test_accuracy
                        .map_or(String::new(), |test| format!(", test {:.1} %", 100.0 * test))
                ));
            }
            Event::Step { step, epoch, loss, learning_rate, .. } => {
                self.step(*step, *epoch, *loss, *learning_rate);
            }
            Event::Sample { step, text } => {
                let text = storage::terminal_safe(text);
                self.bar.say(&format!("step {step}: the model writes: {text}"));
            }
            Event::Eval { step, train_loss, validation_loss } => {
                let width = self.training.steps.to_string().len();
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
                    "epoch {epoch}: validation set: loss {loss:.4}, accuracy {:.1} %{}",
                    100.0 * accuracy,
                    if *is_best { ", the best so far" } else { "" }
                ));
            }
            Event::Final { .. } => self.bar.close(),
        }
    }
}
