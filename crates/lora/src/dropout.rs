//! Dropout on what goes into the adapters.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tch::{TchError, Tensor};

/// Dropout (Srivastava et al. 2014) that is on or off for all layers of an adapter
/// at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dropout {
    /// Probability of a zero.
    pub probability: f64,
    /// Off means that nothing is dropped.
    pub training: Arc<AtomicBool>,
}

impl Dropout {
    /// `input`, with numbers dropped if it is time to.
    pub fn apply(&self, input: &Tensor) -> Result<Tensor, TchError> {
        if self.probability > 0.0 && self.training.load(Ordering::Relaxed) {
            input.f_dropout(self.probability, true)
        } else {
            Ok(input.shallow_clone())
        }
    }
}
