//! Reliability bins and expected calibration error of Guo et al. (2017), "On
//! Calibration of Modern Neural Networks".

use serde::{Deserialize, Serialize};

/// Bins of equal width, as in the paper's experiments.
pub const RELIABILITY_BINS: usize = 15;

/// Examples whose confidence (highest probability) is above `low` and at most `high`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Lower end, exclusive.
    pub low: f64,
    /// Upper end, inclusive.
    pub high: f64,
    /// Examples in the bin.
    #[serde(alias = "rows")]
    pub examples: u64,
    /// Mean confidence; `None` in an empty bin.
    pub confidence: Option<f64>,
    /// Accuracy; `None` in an empty bin.
    pub accuracy: Option<f64>,
}

/// Sums over the examples of each bin.
#[derive(Clone, Debug, Default)]
pub(super) struct Calibration {
    bins: [Sums; RELIABILITY_BINS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    examples: u64,
    correct: u64,
    confidence: f64,
}

impl Calibration {
    /// Counts an example by its confidence, from 0 to 1.
    pub fn add(&mut self, confidence: f64, is_correct: bool) {
        // `edge` also gives the bounds in the report, so 0.6 falls into the bin that
        // reports 0.6 as its upper end.
        let bin = (1..RELIABILITY_BINS).take_while(|&bin| edge(bin) < confidence).count();
        let sums = &mut self.bins[bin];
        sums.examples += 1;
        sums.correct += u64::from(is_correct);
        sums.confidence += confidence;
    }

    /// Returns the bins, lowest first.
    pub fn bins(&self) -> Vec<ReliabilityBin> {
        let bin = |(index, sums): (usize, &Sums)| {
            let mean = |sum: f64| (sums.examples > 0).then(|| sum / sums.examples as f64);
            ReliabilityBin {
                low: edge(index),
                high: edge(index + 1),
                examples: sums.examples,
                confidence: mean(sums.confidence),
                accuracy: mean(sums.correct as f64),
            }
        };
        self.bins.iter().enumerate().map(bin).collect()
    }

    /// Returns the expected calibration error, from 0 to 1: the distance between the
    /// confidence and the accuracy of a bin, averaged over all examples (at least one).
    pub fn error(&self) -> f64 {
        let examples: u64 = self.bins.iter().map(|bin| bin.examples).sum();
        let distance: f64 =
            self.bins.iter().map(|bin| (bin.correct as f64 - bin.confidence).abs()).sum();
        distance / examples as f64
    }
}

/// Returns the lower end of a bin.
fn edge(bin: usize) -> f64 {
    bin as f64 / RELIABILITY_BINS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bin_edge_belongs_to_the_lower_bin() {
        let mut calibration = Calibration::default();
        for confidence in [0.0, 0.2, 0.6, 0.6f64.next_up(), 1.0] {
            calibration.add(confidence, true);
        }
        let examples: Vec<u64> = calibration.bins().iter().map(|bin| bin.examples).collect();
        assert_eq!(examples, [1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1]);
        assert_eq!(calibration.bins()[8].high, 0.6);
    }

    #[test]
    fn calibration_error_is_weighted_by_bin_size() {
        let mut calibration = Calibration::default();
        // 75 % of the examples have confidence 0.9 and accuracy 0.5; the others are correct.
        for is_correct in [true, false, true, false, true, false] {
            calibration.add(0.9, is_correct);
        }
        calibration.add(1.0, true);
        calibration.add(1.0, true);
        assert!((calibration.error() - 0.75 * 0.4).abs() < 1e-15, "{}", calibration.error());
        let empty = calibration.bins()[0];
        assert_eq!((empty.examples, empty.confidence, empty.accuracy), (0, None, None));
    }
}
