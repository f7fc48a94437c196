//! Traits of a task: batches, loss and evaluations.

use dataset::TorchRng;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::{error::Result, metrics::TokenMeasures};

/// Loss of a batch and its gradients.
pub trait Objective {
    /// Examples processed together.
    type Batch;

    /// Micro-batches of a batch, which are computed one after the other to save memory; `None`
    /// for a batch that is computed at once.
    fn micro_batches(&self, batch: &Self::Batch) -> Option<Vec<Self::Batch>>;

    /// Denominator of the mean loss of a batch. A micro-batch contributes to the loss of its
    /// batch in proportion to its weight.
    fn weight(&self, batch: &Self::Batch) -> f64;

    /// Accumulates the gradients of `factor` times the mean loss, in nats, in the trainable
    /// parameters. Returns that product, a detached scalar on the device.
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

/// Measures of a language model on a set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageMeasures {
    /// Tokens of completions; `None` for texts without a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completions: Option<TokenMeasures>,
    /// All tokens.
    pub all: TokenMeasures,
}

impl LanguageMeasures {
    /// Returns the measures of the tokens that a model is usually trained on.
    pub fn main(&self) -> TokenMeasures {
        self.completions.unwrap_or(self.all)
    }
}

/// Losses on the first batches of training and validation set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Losses {
    /// Mean loss on the training set, in nats.
    pub train: f64,
    /// Mean loss on the validation set, in nats.
    pub validation: f64,
    /// Measures of a language model on the validation set.
    pub language_model: Option<LanguageMeasures>,
}

/// Text that a language model has generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Text that was continued; `None` for the beginning of a text.
    pub prompt: Option<String>,
    /// Generated text.
    pub text: String,
}

/// Task of the training loop.
pub trait Task: Objective {
    /// Device of the model.
    fn device(&self) -> Device;

    /// Optimizer steps per epoch.
    fn steps_per_epoch(&self) -> usize;

    /// Batches of an epoch, counted from 1, without the first `skip`. Their order is drawn from
    /// `rng`.
    fn epoch<'s>(
        &'s self,
        epoch: usize,
        skip: usize,
        rng: &mut TorchRng,
    ) -> Box<dyn Iterator<Item = Result<Self::Batch>> + 's>;

    /// Indices of the examples of a batch.
    fn examples(&self, batch: &Self::Batch) -> Vec<usize>;

    /// Names examples in an error: `rows [3, 1] of train.csv`.
    fn describe(&self, examples: &[usize]) -> String;

    /// Mean losses on the first batches of training and validation set.
    fn losses(&self, rng: &mut TorchRng) -> Result<Losses>;

    /// Accuracies on the first batches of training and validation set.
    fn accuracies(&self, rng: &mut TorchRng) -> Result<[f64; 2]>;

    /// Measures on the whole validation set.
    fn validate(&self) -> Result<Measures>;

    /// Generated texts, for tasks that generate.
    fn samples(&self) -> Result<Vec<Sample>> {
        Ok(Vec::new())
    }
}
