//! The parts of the data as a training wants them.

use dataset::{Batch, Batches, DataLoader, Encoded, Padding, TorchRng};
use serde::{Deserialize, Serialize};

use crate::{
    config::settings::{FitConfig, PadTo},
    error::Result,
    task::evaluator::{Evaluator, Prediction, accuracy},
};

/// The three tokenised parts of the data.
#[derive(Debug)]
pub struct Parts {
    /// What the adapter is trained on.
    pub train: Encoded,
    /// What is looked at while training.
    pub validation: Encoded,
    /// What is looked at in the end.
    pub test: Encoded,
    /// Longest row in tokens.
    pub max_length: usize,
}

/// Batches of the three parts: those of training shuffled and all of one size,
/// the others in the order of their rows and complete.
#[derive(Debug)]
pub struct Loaders<'a> {
    train: DataLoader<'a>,
    validation: DataLoader<'a>,
    test: DataLoader<'a>,
}

/// Accuracies on the three parts, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracies {
    /// On training batches.
    pub train: f64,
    /// On validation batches.
    pub validation: f64,
    /// On test batches.
    pub test: f64,
}

impl<'a> Loaders<'a> {
    /// Batches of `parts` as the training loop wants them.
    ///
    /// # Errors
    /// [`Error::Dataset`](crate::Error::Dataset) if there is not one whole batch to train on.
    pub fn new(parts: &'a Parts, config: &FitConfig) -> Result<Self> {
        let padding = match config.pad_to {
            PadTo::MaxLength => Padding::To(parts.max_length),
            PadTo::Longest => Padding::Longest,
            PadTo::None => Padding::Packed,
        };
        let size = config.batch_size;
        let rows_of_a_step = size.saturating_mul(config.gradient_accumulation_steps);
        Ok(Self {
            train: DataLoader::new(&parts.train, rows_of_a_step, padding, true, true)?,
            validation: DataLoader::new(&parts.validation, size, padding, false, false)?,
            test: DataLoader::new(&parts.test, size, padding, false, false)?,
        })
    }

    /// Steps in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.train.batch_count()
    }

    /// Rows that a step learns from.
    pub fn rows_of_a_step(&self) -> usize {
        self.train.batch_size()
    }

    /// Accuracies on the first `batches` batches of each part. One pass over each
    /// part is drawn from `rng`.
    ///
    /// # Errors
    /// Whatever the model refuses.
    pub fn accuracies(
        &self,
        evaluator: Evaluator<'_>,
        batches: usize,
        rng: &mut TorchRng,
    ) -> Result<Accuracies> {
        Ok(Accuracies {
            train: evaluator.accuracy(self.train_pieces(rng).take(batches))?,
            validation: evaluator.accuracy(self.validation.iter(rng).take(batches))?,
            test: evaluator.accuracy(self.test.iter(rng).take(batches))?,
        })
    }

    /// Accuracies on all batches of each part, and the predictions for the test
    /// part in its order. One pass over each part is drawn from `rng`.
    ///
    /// # Errors
    /// Whatever the model refuses.
    pub fn final_accuracies(
        &self,
        evaluator: Evaluator<'_>,
        rng: &mut TorchRng,
    ) -> Result<(Accuracies, Vec<Prediction>)> {
        let mut predict = |loader: &DataLoader<'_>| predict(loader, evaluator, rng);
        let (train, validation) = (predict(&self.train)?, predict(&self.validation)?);
        let test = predict(&self.test)?;
        let accuracies = Accuracies {
            train: accuracy(&train),
            validation: accuracy(&validation),
            test: accuracy(&test),
        };
        Ok((accuracies, test))
    }

    /// Batches of training, in an order drawn from `rng`.
    pub(crate) fn train(&self, rng: &mut TorchRng) -> Batches<'a> {
        self.train.iter(rng)
    }

    /// As [`Loaders::train`], in pieces as large as other batches: those that a step
    /// is made of.
    pub(crate) fn train_pieces(&self, rng: &mut TorchRng) -> impl Iterator<Item = Batch> + use<'a> {
        let size = self.validation.batch_size();
        self.train(rng).flat_map(move |batch| batch.pieces(size))
    }

    /// Batches of the validation part.
    pub(crate) fn validation(&self, rng: &mut TorchRng) -> Batches<'a> {
        self.validation.iter(rng)
    }

    /// The loss, in nats, and the accuracy on the whole validation part. Nothing is
    /// drawn for it.
    pub(crate) fn validate(&self, evaluator: Evaluator<'_>) -> Result<(f64, f64)> {
        // Nothing is shuffled, so the generator has no say in the result.
        let mut rng = TorchRng::manual_seed(0);
        let predictions = predict(&self.validation, evaluator, &mut rng)?;
        let sum: f64 = predictions.iter().map(Prediction::loss).sum();
        Ok((sum / predictions.len() as f64, accuracy(&predictions)))
    }
}

/// A prediction for every row that a pass has, in its order.
fn predict(
    loader: &DataLoader<'_>,
    evaluator: Evaluator<'_>,
    rng: &mut TorchRng,
) -> Result<Vec<Prediction>> {
    match loader.padding() {
        Padding::Packed => {
            let rows = loader.iter(rng).flat_map(|batch| batch.row_numbers);
            evaluator.predict_packed(loader.encoded(), rows)
        }
        _ => evaluator.predict(loader.iter(rng)),
    }
}
