//! Batches of the training, validation and test set.

use dataset::{Batch, Batches, DataLoader, Padding, TokenizedSplit, TorchRng};
use serde::{Deserialize, Serialize};

use crate::{
    config::settings::{PadTo, TrainingSettings},
    error::Result,
    task::{
        classification::evaluator::{Evaluator, Prediction, accuracy},
        objective::Measures,
    },
};

/// Batches of the three sets: training batches are shuffled and all of one size,
/// the others are complete and in the order of the examples.
#[derive(Debug)]
pub struct Loaders<'a> {
    train: DataLoader<'a>,
    validation: DataLoader<'a>,
    test: DataLoader<'a>,
}

/// Accuracies on the three sets, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracies {
    /// On the training set.
    pub train: f64,
    /// On the validation set.
    pub validation: f64,
    /// On the test set, if the task has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<f64>,
}

/// Evaluation of a trained classifier on all batches.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalPredictions {
    /// Accuracies on the three sets.
    pub accuracy: Accuracies,
    /// Predictions for the validation set, in its order.
    pub validation: Vec<Prediction>,
    /// Predictions for the test set, in its order.
    pub test: Vec<Prediction>,
}

impl<'a> Loaders<'a> {
    /// Batches of `splits` for the training loop.
    ///
    /// # Errors
    /// [`Error::Dataset`](crate::Error::Dataset) if the training set does not fill a batch.
    pub fn new(splits: &'a TokenizedSplit, settings: &TrainingSettings) -> Result<Self> {
        let padding = match settings.padding() {
            PadTo::MaxLength => Padding::To(splits.max_length),
            PadTo::Longest => Padding::Longest,
            PadTo::None => Padding::Packed,
        };
        let size = settings.batch_size;
        Ok(Self {
            train: DataLoader::new(
                &splits.train,
                settings.examples_per_step(),
                padding,
                true,
                true,
            )?,
            validation: DataLoader::new(&splits.validation, size, padding, false, false)?,
            test: DataLoader::new(&splits.test, size, padding, false, false)?,
        })
    }

    /// Optimizer steps per epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.train.batch_count()
    }

    /// Examples per optimizer step.
    pub fn examples_per_step(&self) -> usize {
        self.train.batch_size()
    }

    /// Accuracies on the first `batches` batches of each set. The order of a pass over each
    /// set is drawn from `rng`.
    pub fn accuracies(
        &self,
        evaluator: Evaluator<'_>,
        batches: usize,
        rng: &mut TorchRng,
    ) -> Result<Accuracies> {
        Ok(Accuracies {
            train: evaluator.accuracy(self.train_micro_batches(rng).take(batches))?,
            validation: evaluator.accuracy(self.validation.iter(rng).take(batches))?,
            test: Some(evaluator.accuracy(self.test.iter(rng).take(batches))?),
        })
    }

    /// Predictions for all batches of each set. The order of a pass over each set is drawn
    /// from `rng`.
    pub fn final_predictions(
        &self,
        evaluator: Evaluator<'_>,
        rng: &mut TorchRng,
    ) -> Result<FinalPredictions> {
        let mut predict = |loader: &DataLoader<'_>| predict(loader, evaluator, rng);
        let (train, validation) = (predict(&self.train)?, predict(&self.validation)?);
        let test = predict(&self.test)?;
        let accuracy = Accuracies {
            train: accuracy(&train),
            validation: accuracy(&validation),
            test: Some(accuracy(&test)),
        };
        Ok(FinalPredictions { accuracy, validation, test })
    }

    /// Training batches, in an order drawn from `rng`.
    pub(crate) fn train(&self, rng: &mut TorchRng) -> Batches<'a> {
        self.train.iter(rng)
    }

    /// Training batches as [`Loaders::train`], in micro-batches.
    pub(crate) fn train_micro_batches(
        &self,
        rng: &mut TorchRng,
    ) -> impl Iterator<Item = Batch> + use<'a> {
        let size = self.validation.batch_size();
        self.train(rng).flat_map(move |batch| batch.pieces(size))
    }

    /// Validation batches.
    pub(crate) fn validation(&self, rng: &mut TorchRng) -> Batches<'a> {
        self.validation.iter(rng)
    }

    /// Measures on the whole validation set. Draws no random numbers.
    pub(crate) fn validate(&self, evaluator: Evaluator<'_>) -> Result<Measures> {
        // The validation set is not shuffled, so the seed has no effect.
        let mut rng = TorchRng::manual_seed(0);
        let predictions = predict(&self.validation, evaluator, &mut rng)?;
        let sum: f64 = predictions.iter().map(Prediction::loss).sum();
        Ok(Measures { loss: sum / predictions.len() as f64, accuracy: accuracy(&predictions) })
    }
}

/// Predictions for the examples of a pass, in its order.
fn predict(
    loader: &DataLoader<'_>,
    evaluator: Evaluator<'_>,
    rng: &mut TorchRng,
) -> Result<Vec<Prediction>> {
    match loader.padding() {
        Padding::Packed => {
            let rows = loader.iter(rng).flat_map(|batch| batch.row_numbers);
            evaluator.predict_packed(loader.set(), rows)
        }
        _ => evaluator.predict(loader.iter(rng)),
    }
}
