//! Whether a classifier is right as often as it says: reliability bins and the
//! expected calibration error of Guo et al. (2017), "On Calibration of Modern
//! Neural Networks".

use serde::{Deserialize, Serialize};

/// Bins of equal width, as in the paper's experiments.
pub const RELIABILITY_BINS: usize = 15;

/// Rows whose highest probability is above `low` and at most `high`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// The lower end, which is not part of the bin.
    pub low: f64,
    /// The upper end, which is.
    pub high: f64,
    /// Rows in it.
    pub rows: u64,
    /// Mean of their highest probabilities; `None` without a row.
    pub confidence: Option<f64>,
    /// The part of them that was classified rightly; `None` without a row.
    pub accuracy: Option<f64>,
}

/// Sums over the rows of each bin.
#[derive(Clone, Debug, Default)]
pub(super) struct Calibration {
    bins: [Sums; RELIABILITY_BINS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    rows: u64,
    right: u64,
    confidence: f64,
}

impl Calibration {
    /// Counts a row by its highest probability, from 0 to 1.
    pub fn add(&mut self, confidence: f64, right: bool) {
        // An edge is computed as `edge` does for the bins that are reported, so that
        // 0.6 is in the bin that says it ends there.
        let bin = (1..RELIABILITY_BINS).take_while(|&bin| edge(bin) < confidence).count();
        let sums = &mut self.bins[bin];
        sums.rows += 1;
        sums.right += u64::from(right);
        sums.confidence += confidence;
    }

    /// The bins from the lowest to the highest.
    pub fn bins(&self) -> Vec<ReliabilityBin> {
        let bin = |(index, sums): (usize, &Sums)| {
            let mean = |sum: f64| (sums.rows > 0).then(|| sum / sums.rows as f64);
            ReliabilityBin {
                low: edge(index),
                high: edge(index + 1),
                rows: sums.rows,
                confidence: mean(sums.confidence),
                accuracy: mean(sums.right as f64),
            }
        };
        self.bins.iter().enumerate().map(bin).collect()
    }

    /// The mean over all rows of the distance between a bin's confidence and its
    /// accuracy, from 0 to 1; there is a row.
    pub fn error(&self) -> f64 {
        let rows: u64 = self.bins.iter().map(|bin| bin.rows).sum();
        let distance: f64 =
            self.bins.iter().map(|bin| (bin.right as f64 - bin.confidence).abs()).sum();
        distance / rows as f64
    }
}

/// The lower end of a bin.
fn edge(bin: usize) -> f64 {
    bin as f64 / RELIABILITY_BINS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_belongs_to_the_bin_below_it() {
        let mut calibration = Calibration::default();
        for confidence in [0.0, 0.2, 0.6, 0.6f64.next_up(), 1.0] {
            calibration.add(confidence, true);
        }
        let rows: Vec<u64> = calibration.bins().iter().map(|bin| bin.rows).collect();
        assert_eq!(rows, [1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1]);
        assert_eq!(calibration.bins()[8].high, 0.6);
    }

    #[test]
    fn the_error_is_the_weighted_distance() {
        let mut calibration = Calibration::default();
        // 75 % of the rows say 0.9 and half of them are right; the rest is right.
        for right in [true, false, true, false, true, false] {
            calibration.add(0.9, right);
        }
        calibration.add(1.0, true);
        calibration.add(1.0, true);
        assert!((calibration.error() - 0.75 * 0.4).abs() < 1e-15, "{}", calibration.error());
        let empty = calibration.bins()[0];
        assert_eq!((empty.rows, empty.confidence, empty.accuracy), (0, None, None));
    }
}
