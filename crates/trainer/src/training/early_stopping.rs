//! Early stopping and selection of the epoch with the lowest validation loss.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

/// Epoch whose parameters are saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The last one
    #[default]
    Last,
    /// The one with the lowest loss on the whole validation set
    Best,
}

/// Epoch and its measures on the validation set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Accuracy, from 0 to 1.
    pub accuracy: f64,
}

/// Best epoch so far, and the decision to stop.
pub(crate) struct EarlyStopping {
    keep: Keep,
    /// Patience: epochs without a lower validation loss after which training stops.
    patience: Option<usize>,
    best: Option<Best>,
    /// Parameters of the best epoch.
    copy: Vec<Tensor>,
}

impl EarlyStopping {
    pub fn new(keep: Keep, patience: Option<usize>) -> Self {
        Self { keep, patience, best: None, copy: Vec::new() }
    }

    /// Returns whether the validation set has to be evaluated.
    pub fn needs_validation(&self) -> bool {
        self.keep == Keep::Best || self.patience.is_some()
    }

    /// Records an epoch and the parameters after it. Returns whether its loss is the lowest so
    /// far; ties go to the first.
    pub fn record(&mut self, epoch: Best, parameters: &[Tensor]) -> Result<bool, TchError> {
        // A NaN loss is never the best.
        if !self.best.is_none_or(|best| epoch.loss < best.loss) || epoch.loss.is_nan() {
            return Ok(false);
        }
        self.best = Some(epoch);
        if self.keep == Keep::Best {
            let _no_grad = tch::no_grad_guard();
            let copy = |tensor: &Tensor| {
                let mut copy = tensor.f_detach()?.f_empty_like()?;
                copy.f_copy_(tensor)?;
                Ok(copy)
            };
            self.copy = parameters.iter().map(copy).collect::<Result<_, TchError>>()?;
        }
        Ok(true)
    }

    /// Returns whether training stops after an epoch because patience has run out.
    pub fn stops_after(&self, epoch: usize) -> bool {
        let epochs = epoch - self.best.map_or(0, |best| best.epoch);
        self.patience.is_some_and(|patience| epochs >= patience)
    }

    /// Restores the parameters of the best epoch, if they are kept.
    pub fn restore_best(&self, parameters: &[Tensor]) -> Result<(), TchError> {
        let _no_grad = tch::no_grad_guard();
        for (parameter, copy) in parameters.iter().zip(&self.copy) {
            parameter.shallow_clone().f_copy_(copy)?;
        }
        Ok(())
    }

    pub fn best(&self) -> Option<Best> {
        self.best
    }

    /// Returns whether the parameters of the best epoch are kept.
    pub fn keeps_best(&self) -> bool {
        self.keep == Keep::Best
    }

    /// Parameters of the best epoch, if they are kept.
    pub fn copy(&self) -> &[Tensor] {
        &self.copy
    }

    /// Restores the state of a checkpoint.
    pub fn resume(&mut self, best: Option<Best>, copy: Vec<Tensor>) {
        (self.best, self.copy) = (best, copy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records losses epoch by epoch; the parameter has the number of the epoch.
    fn train(
        keep: Keep,
        patience: Option<usize>,
        losses: &[f64],
    ) -> (EarlyStopping, Tensor, usize) {
        let mut stopping = EarlyStopping::new(keep, patience);
        let mut parameter = Tensor::from_slice(&[0f32]);
        for (epoch, &loss) in (1..).zip(losses) {
            let _ = parameter.fill_(epoch as f64);
            stopping
                .record(Best { epoch, loss, accuracy: 0.5 }, &[parameter.shallow_clone()])
                .unwrap();
            if stopping.stops_after(epoch) {
                return (stopping, parameter, epoch);
            }
        }
        (stopping, parameter, losses.len())
    }

    #[test]
    fn parameters_of_the_best_epoch_are_restored() {
        let losses = [0.9, f64::NAN, 0.4, 0.4, 0.5];
        let (stopping, parameter, _) = train(Keep::Best, None, &losses);
        assert_eq!(stopping.best().unwrap().epoch, 3);
        stopping.restore_best(&[parameter.shallow_clone()]).unwrap();
        assert_eq!(parameter, Tensor::from_slice(&[3f32]));
        let (stopping, parameter, _) = train(Keep::Last, Some(9), &losses);
        stopping.restore_best(&[parameter.shallow_clone()]).unwrap();
        assert_eq!(parameter, Tensor::from_slice(&[5f32]));
    }

    #[test]
    fn training_stops_when_patience_runs_out() {
        let losses = [0.9, 0.8, 0.85, 0.7, 0.75, 0.72, 0.1];
        assert_eq!(train(Keep::Last, Some(2), &losses).2, 6);
        assert_eq!(train(Keep::Last, Some(1), &losses).2, 3);
        assert_eq!(train(Keep::Last, None, &losses).2, 7);
        assert_eq!(train(Keep::Last, Some(2), &[f64::NAN; 5]).2, 2);
        assert!(!EarlyStopping::new(Keep::Last, None).needs_validation());
    }
}
