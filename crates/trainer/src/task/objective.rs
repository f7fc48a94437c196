//! What a task supplies to the training loop.

use dataset::TorchRng;
use tch::{Device, Tensor};

use crate::error::Result;

/// The loss of a batch and its gradients.
pub trait Objective {
    /// Examples that are processed together.
    type Batch;

    /// Parts of a batch that are computed one after the other to save memory, or nothing
    /// for a batch that is computed at once.
    fn micro_batches(&self, batch: &Self::Batch) -> Option<Vec<Self::Batch>>;

    /// What the mean over a batch divides by: the share of a micro-batch in the loss of the
    /// batch is its weight over that of the batch.
    fn weight(&self, batch: &Self::Batch) -> f64;

    /// Adds the gradients of `factor` times the mean loss, in nats, to those of the
    /// trainable parameters. Returns that product, a detached scalar on the device.
    fn backward(&self, batch: &Self::Batch, factor: f64) -> Result<Tensor>;
}

/// Mean loss, in nats, and accuracy, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measures {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Fraction of correct predictions.
    pub accuracy: f64,
}

/// What the training loop trains on and evaluates with.
pub trait Task: Objective {
    /// Where the model computes.
    fn device(&self) -> Device;

    /// Optimizer steps in one pass over the training set.
    fn steps_per_epoch(&self) -> usize;

    /// The batches of an epoch, from 1, but for the first `skip`. Their order is drawn from
    /// `rng`.
    fn epoch<'s>(
        &'s self,
        epoch: usize,
        skip: usize,
        rng: &mut TorchRng,
    ) -> Box<dyn Iterator<Item = Result<Self::Batch>> + 's>;

    /// Numbers that identify the examples of a batch.
    fn examples(&self, batch: &Self::Batch) -> Vec<usize>;

    /// Names examples in an error: `rows [3, 1] of train.csv`.
    fn describe(&self, examples: &[usize]) -> String;

    /// Mean losses on the first batches of training and validation set.
    fn losses(&self, rng: &mut TorchRng) -> Result<[f64; 2]>;

    /// Accuracies on the first batches of training and validation set.
    fn accuracies(&self, rng: &mut TorchRng) -> Result<[f64; 2]>;

    /// Measures on the whole validation set.
    fn validate(&self) -> Result<Measures>;

    /// A text that the model writes, for tasks that generate.
    fn sample(&self) -> Result<Option<String>> {
        Ok(None)
    }
}
