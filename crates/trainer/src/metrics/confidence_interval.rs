//! Confidence interval of an accuracy or another fraction: the score interval of Wilson (1927), "Probable
//! inference, the law of succession, and statistical inference". Unlike the usual ± 1.96
//! standard errors, it stays within 0 and 1 and does not collapse at an accuracy of 1.

use serde::{Deserialize, Serialize};

/// 97.5 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Confidence interval of a fraction, within 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Returns the 95 % confidence interval of an accuracy of `correct` out of `examples`,
/// which is not 0.
pub(crate) fn wilson_interval(correct: u64, examples: u64) -> Interval {
    let n = examples as f64;
    let accuracy = correct as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let center = (accuracy + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (accuracy * (1.0 - accuracy) / n + Z * Z / (4.0 * n * n)).sqrt();
    // Exact at accuracies of 0 and 1, where rounding would not be.
    Interval {
        low: if correct == 0 { 0.0 } else { (center - half).max(0.0) },
        high: if correct == examples { 1.0 } else { (center + half).min(1.0) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_is_exact_at_0_and_1_and_not_empty() {
        let none = wilson_interval(0, 10);
        assert_eq!(none.low, 0.0);
        assert!(none.high > 0.2 && none.high < 0.3, "{none:?}");
        let all = wilson_interval(10, 10);
        assert_eq!(all.high, 1.0);
        assert!((all.low - (1.0 - none.high)).abs() < 1e-15, "{all:?}");
    }

    #[test]
    fn interval_narrows_with_more_examples() {
        let width = |examples| {
            let interval = wilson_interval(examples / 2, examples);
            interval.high - interval.low
        };
        assert!(width(10) > width(100) && width(100) > width(10_000));
    }
}
