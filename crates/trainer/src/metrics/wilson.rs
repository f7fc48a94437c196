//! How far an accuracy can be trusted: the score interval of Wilson (1927),
//! "Probable inference, the law of succession, and statistical inference". Unlike
//! the usual ± 1.96 standard errors it stays within 0 and 1 and has a width where
//! every row is right.

use serde::{Deserialize, Serialize};

/// The value that a standard normal variable exceeds with probability 2.5 %.
const Z: f64 = 1.959_963_984_540_054;

/// From one number to another, both parts of one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The 95 % interval of the probability behind `right` of `rows`, which is not 0.
pub(super) fn wilson(right: u64, rows: u64) -> Interval {
    let n = rows as f64;
    let part = right as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let center = (part + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (part * (1.0 - part) / n + Z * Z / (4.0 * n * n)).sqrt();
    // The ends are exact where nothing or everything is right; rounding is not.
    Interval {
        low: if right == 0 { 0.0 } else { (center - half).max(0.0) },
        high: if right == rows { 1.0 } else { (center + half).min(1.0) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_exact_and_the_inside_is_not_empty() {
        let none = wilson(0, 10);
        assert_eq!(none.low, 0.0);
        assert!(none.high > 0.2 && none.high < 0.3, "{none:?}");
        let all = wilson(10, 10);
        assert_eq!(all.high, 1.0);
        assert!((all.low - (1.0 - none.high)).abs() < 1e-15, "{all:?}");
    }

    #[test]
    fn more_rows_make_it_narrower() {
        let width = |rows| wilson(rows / 2, rows).high - wilson(rows / 2, rows).low;
        assert!(width(10) > width(100) && width(100) > width(10_000));
    }
}
