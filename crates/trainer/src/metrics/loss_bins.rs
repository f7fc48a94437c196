//! Distribution of the losses of examples: histogram, and mean loss by length.

use crate::metrics::ScoredExample;

/// Most bins of a histogram, except that both ends are rounded outwards.
const HISTOGRAM_BINS: f64 = 20.0;
/// Least width of a bin, in nats.
const LEAST_WIDTH: f64 = 0.01;
/// Most bins by length.
const LENGTH_BINS: usize = 10;

/// Examples with a loss from `low` to below `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LossBin {
    /// Lower end, in nats.
    pub low: f64,
    /// Upper end, in nats.
    pub high: f64,
    /// Number of examples.
    pub examples: usize,
}

/// Examples of similar length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LengthBin {
    /// Evaluated tokens of the shortest example.
    pub shortest: usize,
    /// Evaluated tokens of the longest example.
    pub longest: usize,
    /// Number of examples.
    pub examples: usize,
    /// Evaluated tokens of all examples.
    pub tokens: usize,
    /// Sum of the losses of these tokens, in nats.
    pub sum: f64,
}

impl LengthBin {
    /// Mean number of evaluated tokens of an example.
    pub fn mean_length(&self) -> f64 {
        self.tokens as f64 / self.examples as f64
    }

    /// Mean loss of a token, in nats.
    pub fn mean_loss(&self) -> f64 {
        self.sum / self.tokens as f64
    }
}

/// Returns the histogram of the losses of examples in bins of equal width: 1, 2 or 5 times a power of
/// ten.
pub(crate) fn histogram(examples: &[ScoredExample]) -> Vec<LossBin> {
    let losses = || examples.iter().map(|example| example.loss).filter(|loss| loss.is_finite());
    let (least, most) = losses().fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), loss| {
        (least.min(loss), most.max(loss))
    });
    if least > most {
        return Vec::new();
    }
    let width = bin_width((most - least) / HISTOGRAM_BINS);
    let bin = |loss: f64| (loss / width) as usize;
    let first = bin(least);
    let mut bins: Vec<LossBin> = (first..=bin(most))
        .map(|bin| LossBin {
            low: bin as f64 * width,
            high: (bin as f64 + 1.0) * width,
            examples: 0,
        })
        .collect();
    for loss in losses() {
        if let Some(bin) = bins.get_mut(bin(loss) - first) {
            bin.examples += 1;
        }
    }
    bins
}

/// Rounds the width of a bin up.
fn bin_width(least: f64) -> f64 {
    let least = least.max(LEAST_WIDTH);
    let power = 10_f64.powi(least.log10().floor() as i32);
    [1.0, 2.0, 5.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|width| *width >= least)
        .unwrap_or(10.0 * power)
}

/// Returns the loss of examples by their length, in bins of about as many examples each, shortest first.
/// Examples of equal length are in one bin.
pub(crate) fn by_length(examples: &[ScoredExample]) -> Vec<LengthBin> {
    let mut sorted: Vec<&ScoredExample> =
        examples.iter().filter(|example| example.loss.is_finite()).collect();
    sorted.sort_by_key(|example| example.tokens);
    let (mut bins, mut filled): (Vec<LengthBin>, usize) = (Vec::new(), 0);
    for (rank, example) in sorted.iter().enumerate() {
        let number = rank * LENGTH_BINS / sorted.len();
        match bins.last_mut() {
            Some(bin) if number == filled || example.tokens == bin.longest => {
                bin.longest = example.tokens;
                bin.examples += 1;
                bin.tokens += example.tokens;
                bin.sum += example.tokens as f64 * example.loss;
            }
            _ => {
                filled = number;
                bins.push(LengthBin {
                    shortest: example.tokens,
                    longest: example.tokens,
                    examples: 1,
                    tokens: example.tokens,
                    sum: example.tokens as f64 * example.loss,
                });
            }
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example(tokens: usize, loss: f64) -> ScoredExample {
        ScoredExample { place: String::new(), tokens, loss, token_accuracy: 0.0, answer: None }
    }

    #[test]
    fn histogram_counts_losses_between_round_numbers() {
        let losses = [1.3, 1.35, 2.0, 4.99, 5.0];
        let bins = histogram(&losses.map(|loss| example(1, loss)));
        // (5 - 1.3) / 20 = 0.185, rounded up to 0.2.
        let found: Vec<(f64, usize)> =
            bins.iter().filter(|bin| bin.examples > 0).map(|bin| (bin.low, bin.examples)).collect();
        assert_eq!(bins.len(), 20);
        for ((low, examples), expected) in
            found.iter().zip([(1.2, 2), (2.0, 1), (4.8, 1), (5.0, 1)])
        {
            assert!((low - expected.0).abs() < 1e-12 && *examples == expected.1, "{found:?}");
        }
        assert_eq!(found.len(), 4);
        assert_eq!(bin_width(0.0), 0.01);
        assert_eq!(bin_width(0.6), 1.0);
        assert_eq!(histogram(&[]), []);
    }

    #[test]
    fn bins_by_length_have_the_mean_of_their_tokens() {
        // Half of the examples have one token: one bin.
        let examples: Vec<ScoredExample> =
            (0..40).map(|index| example(index.max(20) - 19, index as f64 / 10.0)).collect();
        let bins = by_length(&examples);
        assert_eq!((bins[0].shortest, bins[0].longest, bins[0].examples), (1, 1, 21));
        assert!((bins[0].mean_loss() - 1.0).abs() < 1e-12, "{bins:?}");
        let last = bins.last().unwrap();
        assert_eq!((last.shortest, last.longest, last.mean_length()), (17, 20, 18.5));
        let expected = (17.0 * 3.6 + 18.0 * 3.7 + 19.0 * 3.8 + 20.0 * 3.9) / 74.0;
        assert!((last.mean_loss() - expected).abs() < 1e-12, "{last:?}");
    }

    proptest! {
        #[test]
        fn bins_are_ordered_and_have_every_example(
            examples in prop::collection::vec((1_usize..200, 0.0_f64..20.0), 1..300)
        ) {
            let examples: Vec<ScoredExample> =
                examples.into_iter().map(|(tokens, loss)| example(tokens, loss)).collect();
            let bins = histogram(&examples);
            prop_assert!(bins.len() <= HISTOGRAM_BINS as usize + 2);
            prop_assert_eq!(bins.iter().map(|bin| bin.examples).sum::<usize>(), examples.len());
            prop_assert!(bins[0].examples > 0 && bins[bins.len() - 1].examples > 0);
            let bins = by_length(&examples);
            prop_assert!(bins.len() <= LENGTH_BINS);
            prop_assert_eq!(bins.iter().map(|bin| bin.examples).sum::<usize>(), examples.len());
            prop_assert!(bins.windows(2).all(|two| two[0].longest < two[1].shortest));
        }
    }
}
