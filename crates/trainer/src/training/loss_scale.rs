//! Loss scaling, which keeps gradients in the range of float16.

use serde::{Deserialize, Serialize};

/// Dynamic loss scale (Micikevicius et al. 2018, *Mixed Precision Training*, section 3.2):
/// halved when a gradient is NaN or infinite, doubled after [`GROWTH_INTERVAL`] steps without.
// The names of the fields are part of checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LossScale {
    factor: f64,
    /// Steps since the scale changed.
    steady: u32,
}

/// Steps with finite gradients after which the scale grows, as in PyTorch's `GradScaler`.
const GROWTH_INTERVAL: u32 = 2000;

impl LossScale {
    pub fn new() -> Self {
        Self { factor: 65536.0, steady: 0 }
    }

    /// The scale of the next loss.
    pub fn scale(self) -> f64 {
        self.factor
    }

    /// Updates the scale after a step whose gradients were all `finite`, or not.
    pub fn update(&mut self, finite: bool) {
        self.steady = if finite { self.steady + 1 } else { 0 };
        if !finite {
            self.factor = (self.factor / 2.0).max(1.0);
        } else if self.steady == GROWTH_INTERVAL {
            (self.factor, self.steady) = (self.factor * 2.0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_scale_halves_on_overflow_and_doubles_after_an_interval() {
        let mut scale = LossScale::new();
        scale.update(false);
        assert_eq!(scale.scale(), 32768.0);
        (1..GROWTH_INTERVAL).for_each(|_| scale.update(true));
        assert_eq!(scale.scale(), 32768.0);
        scale.update(true);
        assert_eq!(scale.scale(), 65536.0);
        (0..40).for_each(|_| scale.update(false));
        assert_eq!(scale.scale(), 1.0);
    }
}
