//! The factor on a loss that keeps gradients in the range of float16.

use serde::{Deserialize, Serialize};

/// A factor as large as the gradients allow (Micikevicius et al. 2018, *Mixed
/// Precision Training*, section 3.2): halved when a gradient is no number, and
/// doubled after a while in which all were.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LossScale {
    factor: f64,
    /// Steps since the factor changed.
    steady: u32,
}

/// Steps without trouble after which a larger factor is tried.
const PATIENCE: u32 = 2000;

impl LossScale {
    pub fn new() -> Self {
        Self { factor: 65536.0, steady: 0 }
    }

    /// What the next loss is multiplied by.
    pub fn factor(self) -> f64 {
        self.factor
    }

    /// Learns whether all gradients of a step were numbers.
    pub fn learn(&mut self, finite: bool) {
        self.steady = if finite { self.steady + 1 } else { 0 };
        if !finite {
            self.factor = (self.factor / 2.0).max(1.0);
        } else if self.steady == PATIENCE {
            (self.factor, self.steady) = (self.factor * 2.0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_at_once_and_rises_slowly() {
        let mut scale = LossScale::new();
        scale.learn(false);
        assert_eq!(scale.factor(), 32768.0);
        (1..PATIENCE).for_each(|_| scale.learn(true));
        assert_eq!(scale.factor(), 32768.0);
        scale.learn(true);
        assert_eq!(scale.factor(), 65536.0);
        (0..40).for_each(|_| scale.learn(false));
        assert_eq!(scale.factor(), 1.0);
    }
}
