//! A pretraining run on the terminal: a bar where there is one, plain lines where
//! the output is piped, all on standard error.

use std::time::{Duration, Instant};

use super::events::{PretrainEvent, PretrainObserver};
use crate::terminal::progress_bar::Bar;

/// Seconds between two lines of progress where there is no terminal.
const QUIET: Duration = Duration::from_secs(30);

/// Shows a pretraining run on standard error.
#[derive(Debug)]
pub struct PretrainConsole {
    bar: Bar,
    steps: usize,
    /// Tokens in a step.
    tokens: usize,
    began: Instant,
    last_line: Instant,
    /// Steps since training began or went on.
    taken: usize,
    /// Loss, smoothed over some steps.
    loss: Option<f64>,
}

impl Default for PretrainConsole {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            bar: Bar::new(),
            steps: 0,
            tokens: 0,
            began: now,
            last_line: now,
            taken: 0,
            loss: None,
        }
    }
}

impl PretrainConsole {
    fn step(&mut self, step: usize, lr: f64, loss: f64) {
        self.taken += 1;
        let smoothed = self.loss.map_or(loss, |before| 0.98 * before + 0.02 * loss);
        self.loss = Some(smoothed);
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = self.taken as f64 * self.tokens as f64 / seconds;
        let is_shown = self.bar.set(step, &format!("loss {smoothed:.3}, {rate:.0} tokens/s"));
        if !is_shown && self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            let left = seconds / self.taken as f64 * (self.steps - step) as f64 / 60.0;
            self.bar.say(&format!(
                "step {step} of {}: loss {smoothed:.3}, rate {lr:.2e}, {rate:.0} tokens/s, \
                 {left:.0} minutes left",
                self.steps
            ));
        }
    }
}

impl PretrainObserver for PretrainConsole {
    fn stage(&mut self, what: &str) {
        self.bar.stage(what);
    }

    fn notice(&mut self, what: &str) {
        self.bar.say(&format!("note: {what}"));
    }

    fn training(&mut self, done: usize, steps: usize, tokens: usize) {
        self.steps = steps;
        self.tokens = tokens;
        self.began = Instant::now();
        let before = if done > 0 { format!(", {done} done before") } else { String::new() };
        let line = format!("training, {steps} steps of {tokens} tokens{before}");
        self.bar.training(done, steps, &line);
    }

    fn event(&mut self, event: &PretrainEvent) {
        match event {
            PretrainEvent::Step { step, lr, loss, .. } => self.step(*step, *lr, *loss),
            PretrainEvent::Eval { step, held_out_loss, held_out_perplexity } => {
                self.bar.say(&format!(
                    "step {step}: held-out loss {held_out_loss:.4}, perplexity \
                     {held_out_perplexity:.2}"
                ));
            }
            PretrainEvent::Sample { step, text } => {
                self.bar.say(&format!("step {step}: {text:?}"));
            }
        }
    }
}
