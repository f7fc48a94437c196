//! The training loop.

use std::time::Instant;

use dataset::{DataLoader, Encoded, Padding, TorchRng};
use gpt2_model::Gpt2Classifier;
use lora::Adapter;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::{
    adamw::AdamWConfig,
    config::{FitConfig, PadTo},
    error::{Error, Result},
    evaluate::{Evaluator, Prediction, accuracy, scalar},
    events::Event,
    step::Stepper,
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
    /// [`Error::Dataset`] if there is not one whole batch to train on.
    pub fn new(parts: &'a Parts, config: &FitConfig) -> Result<Self> {
        let padding = match config.pad_to {
            PadTo::MaxLength => Padding::To(parts.max_length),
            PadTo::Longest => Padding::Longest,
            PadTo::None => Padding::Packed,
        };
        let size = config.batch_size;
        Ok(Self {
            train: DataLoader::new(&parts.train, size, padding, true, true)?,
            validation: DataLoader::new(&parts.validation, size, padding, false, false)?,
            test: DataLoader::new(&parts.test, size, padding, false, false)?,
        })
    }

    /// Steps in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.train.batch_count()
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
            train: evaluator.accuracy(self.train.iter(rng).take(batches))?,
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
        let mut predict = |loader: &DataLoader<'_>| match loader.padding() {
            Padding::Packed => {
                let rows = loader.iter(rng).flat_map(|batch| batch.row_numbers);
                evaluator.predict_packed(loader.encoded(), rows)
            }
            _ => evaluator.predict(loader.iter(rng)),
        };
        let (train, validation) = (predict(&self.train)?, predict(&self.validation)?);
        let test = predict(&self.test)?;
        let accuracies = Accuracies {
            train: accuracy(&train),
            validation: accuracy(&validation),
            test: accuracy(&test),
        };
        Ok((accuracies, test))
    }
}

/// Trains `adapter`, which is on `model`, and returns the seconds it took. Every
/// event is given to `on_event` as it happens; an error of its own ends the
/// training.
///
/// Each pass over a part draws from `rng` as PyTorch's `DataLoader` does, those
/// of evaluations too.
///
/// # Errors
/// [`Error::Diverged`] if the loss is no number any more; whatever the model
/// refuses.
pub fn fit(
    model: &Gpt2Classifier,
    adapter: &Adapter,
    loaders: &Loaders<'_>,
    config: &FitConfig,
    adamw: AdamWConfig,
    rng: &mut TorchRng,
    on_event: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<f64> {
    let start = Instant::now();
    let evaluator = Evaluator { model, pooling: config.pooling };
    let mut stepper = Stepper::new(adapter.parameters(), adamw, config.step)?;
    let mut step = 0;
    let mut losses = Losses::new(model.body().device());
    for epoch in 1..=config.epochs {
        for batch in loaders.train.iter(rng) {
            let loss = match stepper.step(evaluator, &batch) {
                Ok(loss) => loss,
                Err(error) => {
                    // What was done before it is told first.
                    losses.read(true, on_event)?;
                    return Err(error);
                }
            };
            losses.push(Taken { step, epoch, loss, rows: batch.row_numbers });
            let evaluates = step % config.eval_every == 0;
            losses.read(evaluates, on_event)?;
            if evaluates {
                let most = config.eval_batches;
                let train_loss = evaluator.mean_loss(loaders.train.iter(rng).take(most))?;
                let validation = loaders.validation.iter(rng).take(most);
                let validation_loss = evaluator.mean_loss(validation)?;
                on_event(Event::Eval { step, train_loss, validation_loss })?;
            }
            step += 1;
        }
        losses.read(true, on_event)?;
        let most = config.eval_batches;
        let train_accuracy = evaluator.accuracy(loaders.train.iter(rng).take(most))?;
        let validation_accuracy = evaluator.accuracy(loaders.validation.iter(rng).take(most))?;
        on_event(Event::Epoch { epoch, train_accuracy, validation_accuracy })?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Steps on a CUDA device between two looks at their losses: to look is to wait
/// until the device has done everything.
const STEPS_AHEAD: usize = 16;

/// A step whose loss was not looked at yet.
struct Taken {
    step: usize,
    epoch: usize,
    loss: Tensor,
    rows: Vec<usize>,
}

/// Losses that are on the device.
struct Losses {
    steps: Vec<Taken>,
    at_a_time: usize,
}

impl Losses {
    fn new(device: Device) -> Self {
        Self { steps: Vec::new(), at_a_time: if device.is_cuda() { STEPS_AHEAD } else { 1 } }
    }

    fn push(&mut self, step: Taken) {
        self.steps.push(step);
    }

    /// Reports the losses if there are enough of them, or if all are wanted `now`.
    fn read(&mut self, now: bool, on_event: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        if !now && self.steps.len() < self.at_a_time {
            return Ok(());
        }
        for Taken { step, epoch, loss, rows } in self.steps.drain(..) {
            let loss = scalar(&loss)?;
            if !loss.is_finite() {
                return Err(Error::Diverged { step, loss, rows });
            }
            on_event(Event::Step { step, epoch, loss, rows })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(step: usize, loss: f32) -> Taken {
        Taken { step, epoch: 1, loss: Tensor::from(loss), rows: vec![step] }
    }

    /// The steps that are reported when the losses are read.
    fn read(losses: &mut Losses, now: bool) -> Result<Vec<usize>> {
        let mut steps = Vec::new();
        losses.read(now, &mut |event| {
            if let Event::Step { step, .. } = event {
                steps.push(step);
            }
            Ok(())
        })?;
        Ok(steps)
    }

    #[test]
    fn losses_are_read_several_at_a_time_and_in_order() {
        let mut losses = Losses { steps: Vec::new(), at_a_time: 3 };
        losses.push(taken(0, 0.5));
        losses.push(taken(1, 0.5));
        assert_eq!(read(&mut losses, false).unwrap(), [0; 0]);
        losses.push(taken(2, 0.5));
        assert_eq!(read(&mut losses, false).unwrap(), [0, 1, 2]);
        losses.push(taken(3, 0.5));
        assert_eq!(read(&mut losses, true).unwrap(), [3]);
        losses.push(taken(4, f32::NAN));
        let error = read(&mut losses, true).unwrap_err();
        assert!(matches!(error, Error::Diverged { step: 4, .. }), "{error}");
    }
}
