//! Progress of a run on standard error: a bar on a terminal, plain lines elsewhere.

use std::{
    io,
    time::{Duration, Instant},
};

use gpt2_model::{TreeLine, format_tree};
use indicatif::FormattedDuration;

use crate::{
    metrics::TokenMeasures,
    terminal::progress_bar::Bar,
    training::{
        event::Event,
        observer::{Observer, TrainingStart},
    },
};

/// Output stream for the modules of the trained model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShowModel {
    /// Not shown.
    #[default]
    No,
    /// Standard output.
    Stdout,
    /// Standard error, if standard output is JSON.
    Stderr,
}

/// Time between two lines of progress without a terminal.
const PAUSE: Duration = Duration::from_secs(30);

/// Shows the progress of a run on standard error.
#[derive(Debug)]
pub struct Console {
    bar: Bar,
    show_model: ShowModel,
    training: TrainingStart,
    began: Instant,
    last_line: Instant,
    /// Exponential moving average of the loss.
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

    /// Shows a step in the bar, or as a line every [`PAUSE`].
    fn step(&mut self, step: usize, epoch: usize, loss: f64, learning_rate: f64) {
        let smoothed = self.loss.map_or(loss, |before| 0.9 * before + 0.1 * loss);
        self.loss = Some(smoothed);
        let TrainingStart { steps, done, epochs, examples_per_step } = self.training;
        let (taken, seconds) = (step + 1 - done.min(step), self.began.elapsed().as_secs_f64());
        let rate = (taken * examples_per_step) as f64 / seconds.max(1e-9);
        let epoch = format!("epoch {epoch}/{epochs}");
        let values = format!("loss {smoothed:.3}, lr {learning_rate:.2e}, {rate:.1} examples/s");
        if self.bar.set_step(step + 1, &epoch, &values) || self.last_line.elapsed() < PAUSE {
            return;
        }
        self.last_line = Instant::now();
        let left = seconds / taken as f64 * steps.saturating_sub(step + 1) as f64;
        let left = FormattedDuration(Duration::from_secs_f64(left));
        self.bar.print(&format!("{epoch}, step {}/{steps}: {values}, ETA {left}", step + 1));
    }
}

impl Observer for Console {
    fn stage(&mut self, name: &str) {
        self.bar.stage(name);
    }

    fn notice(&mut self, note: &str) {
        self.bar.print(&format!("note: {}", storage::terminal_safe(note)));
    }

    fn model(&mut self, tree: &[TreeLine]) {
        match self.show_model {
            ShowModel::No => {}
            ShowModel::Stdout => self.bar.write(&mut io::stdout(), &format_tree(tree)),
            ShowModel::Stderr => self.bar.write(&mut io::stderr(), &format_tree(tree)),
        }
    }

    fn training(&mut self, start: TrainingStart) {
        let TrainingStart { steps, done, epochs, .. } = start;
        self.training = start;
        (self.began, self.last_line) = (Instant::now(), Instant::now());
        self.bar.training(done, steps, &format!("training: {steps} steps, {epochs} epochs"));
    }

    fn event(&mut self, event: &Event) {
        let percent = |accuracy: &f64| format!("{:.1} %", 100.0 * accuracy);
        match event {
            Event::Initial { train_accuracy, validation_accuracy, test_accuracy } => {
                let test = test_accuracy.as_ref().map(|test| format!(", test {}", percent(test)));
                self.bar.print(&format!(
                    "before training: accuracy on the first batches: training {}, validation {}{}",
                    percent(train_accuracy),
                    percent(validation_accuracy),
                    test.unwrap_or_default()
                ));
            }
            Event::Step { step, epoch, loss, learning_rate, .. } => {
                self.step(*step, *epoch, *loss, *learning_rate);
            }
            Event::Sample { step, prompt, text } => {
                let text = storage::terminal_safe(text);
                let after = prompt
                    .as_ref()
                    .map(|prompt| format!(" after {:?}", storage::terminal_safe(&end_of(prompt))));
                let after = after.unwrap_or_default();
                self.bar.print(&format!("step {step}: generated text{after}: {text}"));
            }
            Event::Tokens { steps, is_whole, measures } => {
                let set = if *is_whole { "validation set" } else { "first validation batches" };
                let values = |measures: &TokenMeasures| {
                    format!(
                        "perplexity {:.2}, token accuracy {}",
                        measures.perplexity,
                        percent(&measures.accuracy)
                    )
                };
                let all = values(&measures.all);
                let values = match &measures.completions {
                    Some(completions) => {
                        format!("completions: {}; all tokens: {all}", values(completions))
                    }
                    None => all,
                };
                self.bar.print(&format!("after {steps} steps, {set}: {values}"));
            }
            Event::Eval { step, train_loss, validation_loss } => {
                let width = self.training.steps.to_string().len();
                self.bar.print(&format!(
                    "step {step:>width$}: training loss {train_loss:.3}, \
                     validation loss {validation_loss:.3}"
                ));
            }
            Event::Epoch { epoch, train_accuracy, validation_accuracy } => {
                self.bar.print(&format!(
                    "epoch {epoch}: accuracy on the first batches: training {}, validation {}",
                    percent(train_accuracy),
                    percent(validation_accuracy)
                ));
            }
            Event::Validation { epoch, loss, accuracy, is_best } => {
                self.bar.print(&format!(
                    "epoch {epoch}: validation set: loss {loss:.4}, accuracy {}{}",
                    percent(accuracy),
                    if *is_best { ", the best epoch so far" } else { "" }
                ));
            }
            Event::Final { .. } => self.bar.close(),
        }
    }
}

/// Returns the end of a long prompt, where prompts of one template differ.
fn end_of(prompt: &str) -> String {
    const MOST: usize = 60;
    match prompt.char_indices().rev().nth(MOST) {
        Some((start, _)) => format!("…{}", &prompt[start..]),
        None => prompt.to_owned(),
    }
}
