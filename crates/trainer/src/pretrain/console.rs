//! A pretraining run on the terminal: a bar where there is one, plain lines where
//! the output is piped, all on standard error.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::events::{PretrainEvent, PretrainObserver};

/// Seconds between two lines of progress where there is no terminal.
const QUIET: Duration = Duration::from_secs(30);

/// Shows a pretraining run on standard error.
#[derive(Debug)]
pub struct PretrainConsole {
    bar: Option<ProgressBar>,
    is_terminal: bool,
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
            bar: None,
            is_terminal: std::io::stderr().is_terminal(),
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
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
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

    fn step(&mut self, step: usize, lr: f64, loss: f64) {
        self.taken += 1;
        let smoothed = self.loss.map_or(loss, |before| 0.98 * before + 0.02 * loss);
        self.loss = Some(smoothed);
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = self.taken as f64 * self.tokens as f64 / seconds;
        if let Some(bar) = &self.bar {
            bar.set_position(step as u64);
            bar.set_message(format!("loss {smoothed:.3}, {rate:.0} tokens/s"));
        } else if self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            let left = seconds / self.taken as f64 * (self.steps - step) as f64 / 60.0;
            self.say(&format!(
                "step {step} of {}: loss {smoothed:.3}, rate {lr:.2e}, {rate:.0} tokens/s, \
                 {left:.0} minutes left",
                self.steps
            ));
        }
    }
}

impl PretrainObserver for PretrainConsole {
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

    fn training(&mut self, done: usize, steps: usize, tokens: usize) {
        self.steps = steps;
        self.tokens = tokens;
        self.began = Instant::now();
        if self.is_terminal {
            let template = "training {wide_bar} {pos}/{len} steps, {eta} left, {msg}";
            self.open(ProgressBar::new(steps as u64), template);
            if let Some(bar) = &self.bar {
                bar.set_position(done as u64);
                bar.reset_eta();
            }
        } else if done > 0 {
            self.say(&format!("training, {steps} steps of {tokens} tokens, {done} done before"));
        } else {
            self.say(&format!("training, {steps} steps of {tokens} tokens"));
        }
    }

    fn event(&mut self, event: &PretrainEvent) {
        match event {
            PretrainEvent::Step { step, lr, loss, .. } => self.step(*step, *lr, *loss),
            PretrainEvent::Eval { step, held_out_loss, held_out_perplexity } => {
                self.say(&format!(
                    "step {step}: held-out loss {held_out_loss:.4}, perplexity \
                     {held_out_perplexity:.2}"
                ));
            }
            PretrainEvent::Sample { step, text } => {
                self.say(&format!("step {step}: {text:?}"));
            }
        }
    }
}

impl Drop for PretrainConsole {
    fn drop(&mut self) {
        self.close();
    }
}
