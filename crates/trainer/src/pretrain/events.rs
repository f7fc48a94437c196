//! What happens in a pretraining run: the lines of its `metrics.jsonl`, and who
//! watches it.

use serde::{Deserialize, Serialize};

/// One line of `metrics.jsonl`. Steps are counted from 1: a line tells of the
/// model after so many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PretrainEvent {
    /// One optimizer step.
    Step {
        /// Number of the step.
        step: usize,
        /// Its learning rate.
        lr: f64,
        /// Mean cross-entropy of its batch before it, in nats; with a sampled
        /// softmax an estimate.
        loss: f64,
        /// Norm of the gradient before clipping.
        gradient_norm: f64,
    },
    /// The whole held-out part, with the whole vocabulary.
    Eval {
        /// Steps so far.
        step: usize,
        /// Mean cross-entropy, in nats.
        held_out_loss: f64,
        /// e to the mean cross-entropy.
        held_out_perplexity: f64,
    },
    /// A text that the model wrote.
    Sample {
        /// Steps so far.
        step: usize,
        /// The text.
        text: String,
    },
}

impl PretrainEvent {
    /// Steps so far.
    pub fn step(&self) -> usize {
        match self {
            Self::Step { step, .. } | Self::Eval { step, .. } | Self::Sample { step, .. } => *step,
        }
    }
}

/// Is told what a pretraining run does while it does it. Every method may be left
/// out.
pub trait PretrainObserver {
    /// Something that may take a while begins.
    fn stage(&mut self, _what: &str) {}

    /// Something that the user should know and that stops nothing.
    fn notice(&mut self, _what: &str) {}

    /// Training begins, or goes on, after `done` of `steps` steps of so many
    /// tokens.
    fn training(&mut self, _done: usize, _steps: usize, _tokens: usize) {}

    /// A line of `metrics.jsonl`.
    fn event(&mut self, _event: &PretrainEvent) {}

    /// A checkpoint was written after so many steps.
    fn checkpoint(&mut self, _step: usize) {}
}

/// Watches nothing.
impl PretrainObserver for () {}
