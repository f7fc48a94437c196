//! Training steps: what comes of them, and where their time goes.

use std::{cell::Cell, time::Instant};

use anyhow::{Context, Result};
use gpt2_model::{Cost, KernelProfile};
use serde_json::{Value, json};
use tch::Tensor;
use trainer::Objective;

use crate::roof;

/// Contender that trains.
pub trait Steps {
    /// Takes the next steps.
    fn train(&mut self, steps: usize) -> Result<Trained>;

    /// Time and operations of the kernels since the last call.
    fn take_profile(&self) -> KernelProfile;

    /// Answer to a request of steps, or of where their time goes; `None` for another request.
    fn answer_steps(&mut self, words: &[&str]) -> Result<Option<Value>> {
        let [request @ ("train" | "breakdown"), steps] = words else { return Ok(None) };
        // What earlier steps took.
        let _ = self.take_profile();
        let trained = self.train(steps.parse().context("expected an integer")?)?;
        Ok(Some(match *request {
            "train" => trained.answer(),
            _ => trained.breakdown(&self.take_profile())?,
        }))
    }
}

/// Result of some steps.
pub struct Trained {
    pub seconds: f64,
    /// Time of forward and backward passes.
    pub objective_seconds: f64,
    pub tokens: i64,
    pub losses: Vec<f64>,
}

impl Trained {
    /// Answer to a request of steps.
    pub fn answer(&self) -> Value {
        let Self { seconds, tokens, losses, .. } = self;
        json!({ "seconds": seconds, "steps": losses.len(), "tokens": tokens, "losses": losses })
    }

    /// Share of each kind of work in the time of the steps, of which the kernels took a profile.
    pub fn breakdown(&self, profile: &KernelProfile) -> Result<Value> {
        let threads = f64::from(tch::get_num_threads());
        let Self { seconds, objective_seconds, .. } = self;
        let KernelProfile { frozen, terms, attention, norms, total, waiting } = *profile;
        let known = frozen.seconds + terms.seconds + attention.seconds + norms.seconds;
        let in_kernels = total.seconds + waiting.seconds;
        let uncounted = |seconds: f64| Cost { seconds, operations: 0.0 };
        let work = [
            ("frozen products", frozen),
            ("adapters", terms),
            ("attention", attention),
            ("norms and GELU", norms),
            ("copies and additions", uncounted(total.seconds - known)),
            ("waiting for the other threads", waiting),
            ("embeddings, head, loss", uncounted(threads * objective_seconds - in_kernels)),
            ("optimizer", uncounted(threads * (seconds - objective_seconds))),
        ];
        let work = work.map(|(name, Cost { seconds, operations })| {
            json!({ "name": name, "seconds": seconds / threads, "operations": operations })
        });
        Ok(json!({
            "seconds": seconds,
            "steps": self.losses.len(),
            "limit_gflops": roof::kernel_limit(threads as usize)?,
            "work": work,
        }))
    }
}

/// Objective whose time is measured.
pub struct Timed<O> {
    objective: O,
    seconds: Cell<f64>,
}

impl<O> Timed<O> {
    pub fn new(objective: O) -> Self {
        Self { objective, seconds: Cell::new(0.0) }
    }

    /// Seconds of all forward and backward passes.
    pub fn seconds(&self) -> f64 {
        self.seconds.get()
    }
}

impl<O: Objective> Objective for Timed<O> {
    type Batch = O::Batch;

    fn micro_batches(&self, batch: &O::Batch) -> Option<Vec<O::Batch>> {
        self.objective.micro_batches(batch)
    }

    fn weight(&self, batch: &O::Batch) -> f64 {
        self.objective.weight(batch)
    }

    fn backward(&self, batch: &O::Batch, factor: f64) -> trainer::Result<Tensor> {
        let start = Instant::now();
        let loss = self.objective.backward(batch, factor);
        self.seconds.set(self.seconds.get() + start.elapsed().as_secs_f64());
        loss
    }
}
