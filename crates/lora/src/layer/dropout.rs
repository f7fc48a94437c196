//! Dropout on the adapter input.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tch::{TchError, Tensor};

/// Dropout (Srivastava et al. 2014) with one switch for all layers of an adapter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dropout {
    /// Probability that an element becomes zero.
    pub probability: f64,
    /// Training mode, shared between the layers of an adapter.
    pub training: Arc<AtomicBool>,
}

impl Dropout {
    /// Returns whether the layers are in training mode.
    pub fn is_training(&self) -> bool {
        self.training.load(Ordering::Relaxed)
    }

    /// Applies dropout to `input` if `train` is set.
    pub fn apply(&self, input: &Tensor, train: bool) -> Result<Tensor, TchError> {
        if self.probability > 0.0 && train {
            input.f_dropout(self.probability, true)
        } else {
            Ok(input.shallow_clone())
        }
    }
}
