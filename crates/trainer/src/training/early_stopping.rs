//! The epoch whose adapter was best on the validation part, and when to stop.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

/// Which adapter a training leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// That of the last step
    #[default]
    Last,
    /// That of the epoch with the lowest loss on the whole validation part
    Best,
}

/// An epoch as the validation part sees it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// From 1.
    pub epoch: usize,
    /// Mean cross-entropy of its rows, in nats.
    pub loss: f64,
    /// The part of its rows that is classified rightly.
    pub accuracy: f64,
}

/// Remembers the best epoch.
pub(crate) struct Judge {
    keep: Keep,
    /// Epochs without a new best after which training stops.
    patience: Option<usize>,
    best: Option<Best>,
    /// Parameters of the best epoch.
    copy: Vec<Tensor>,
}

impl Judge {
    pub fn new(keep: Keep, patience: Option<usize>) -> Self {
        Self { keep, patience, best: None, copy: Vec::new() }
    }

    /// Whether the validation part has to be looked at.
    pub fn is_asked(&self) -> bool {
        self.keep == Keep::Best || self.patience.is_some()
    }

    /// Takes note of an epoch, with the parameters after it; whether it is the
    /// best so far. Of equals the first is.
    pub fn note(&mut self, epoch: Best, parameters: &[Tensor]) -> Result<bool, TchError> {
        // A loss that is no number is never the best.
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

    /// Whether training has gone on for too long without a new best.
    pub fn stops_after(&self, epoch: usize) -> bool {
        let since = epoch - self.best.map_or(0, |best| best.epoch);
        self.patience.is_some_and(|patience| since >= patience)
    }

    /// Puts the best epoch's parameters back, where they are to be kept.
    pub fn restore(&self, parameters: &[Tensor]) -> Result<(), TchError> {
        let _no_grad = tch::no_grad_guard();
        for (parameter, copy) in parameters.iter().zip(&self.copy) {
            parameter.shallow_clone().f_copy_(copy)?;
        }
        Ok(())
    }

    pub fn best(&self) -> Option<Best> {
        self.best
    }

    /// Whether the best epoch's parameters are kept.
    pub fn keeps_best(&self) -> bool {
        self.keep == Keep::Best
    }

    /// Parameters of the best epoch, where they are kept.
    pub fn copy(&self) -> &[Tensor] {
        &self.copy
    }

    /// Goes on with what was noted before.
    pub fn restore_from(&mut self, best: Option<Best>, copy: Vec<Tensor>) {
        (self.best, self.copy) = (best, copy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes losses epoch by epoch, with a parameter that says which it is.
    fn judged(keep: Keep, patience: Option<usize>, losses: &[f64]) -> (Judge, Tensor, usize) {
        let mut judge = Judge::new(keep, patience);
        let mut parameter = Tensor::from_slice(&[0f32]);
        for (epoch, &loss) in (1..).zip(losses) {
            let _ = parameter.fill_(epoch as f64);
            judge.note(Best { epoch, loss, accuracy: 0.5 }, &[parameter.shallow_clone()]).unwrap();
            if judge.stops_after(epoch) {
                return (judge, parameter, epoch);
            }
        }
        (judge, parameter, losses.len())
    }

    #[test]
    fn the_best_epoch_comes_back() {
        let losses = [0.9, f64::NAN, 0.4, 0.4, 0.5];
        let (judge, parameter, _) = judged(Keep::Best, None, &losses);
        assert_eq!(judge.best().unwrap().epoch, 3);
        judge.restore(&[parameter.shallow_clone()]).unwrap();
        assert_eq!(parameter, Tensor::from_slice(&[3f32]));
        let (judge, parameter, _) = judged(Keep::Last, Some(9), &losses);
        judge.restore(&[parameter.shallow_clone()]).unwrap();
        assert_eq!(parameter, Tensor::from_slice(&[5f32]));
    }

    #[test]
    fn patience_ends() {
        let losses = [0.9, 0.8, 0.85, 0.7, 0.75, 0.72, 0.1];
        assert_eq!(judged(Keep::Last, Some(2), &losses).2, 6);
        assert_eq!(judged(Keep::Last, Some(1), &losses).2, 3);
        assert_eq!(judged(Keep::Last, None, &losses).2, 7);
        assert_eq!(judged(Keep::Last, Some(2), &[f64::NAN; 5]).2, 2);
        assert!(!Judge::new(Keep::Last, None).is_asked());
    }
}
