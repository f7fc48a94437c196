//! Statistics of the data of a run.

use serde::{Deserialize, Serialize};

/// Statistics of the splits of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataStatistics {
    /// Training, validation and, if the task has one, test set.
    pub splits: Vec<SplitStatistics>,
    /// Maximum sequence length in tokens.
    pub max_length: usize,
}

/// Statistics of one split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitStatistics {
    /// Name: training, validation or test.
    pub name: String,
    /// Labeled examples, or documents of plain text.
    pub examples: usize,
    /// Tokens, after truncation.
    pub tokens: usize,
    /// Examples of each class; empty for plain text.
    pub classes: Vec<ClassExamples>,
    /// Tokens per example after truncation; `None` for plain text.
    pub lengths: Option<TokenLengths>,
    /// Examples truncated to the maximum length.
    pub truncated: usize,
}

/// Examples of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassExamples {
    /// Label of the class.
    pub label: String,
    /// Number of examples.
    pub examples: usize,
}

/// Distribution of the number of tokens per example.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLengths {
    /// Shortest example.
    pub min: usize,
    /// Median; of an even number of examples, the upper one of the two in the middle.
    pub median: usize,
    /// Mean.
    pub mean: f64,
    /// 95th percentile (nearest rank).
    pub p95: usize,
    /// Longest example.
    pub max: usize,
}

impl TokenLengths {
    /// Distribution of `lengths`; `None` if there are none.
    pub(crate) fn of(lengths: impl IntoIterator<Item = usize>) -> Option<Self> {
        let mut lengths: Vec<usize> = lengths.into_iter().collect();
        lengths.sort_unstable();
        let (min, max) = (*lengths.first()?, *lengths.last()?);
        let count = lengths.len();
        Some(Self {
            min,
            median: lengths[count / 2],
            mean: lengths.iter().sum::<usize>() as f64 / count as f64,
            p95: lengths[(95 * count).div_ceil(100) - 1],
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_percentiles_by_nearest_rank() {
        assert_eq!(TokenLengths::of([]), None);
        let one = TokenLengths { min: 3, median: 3, mean: 3.0, p95: 3, max: 3 };
        assert_eq!(TokenLengths::of([3]), Some(one));
        // numpy.percentile(range(1, 101), [50, 95], method="inverted_cdf") gives 50 and 95; the
        // median here is the upper one.
        let hundred = TokenLengths { min: 1, median: 51, mean: 50.5, p95: 95, max: 100 };
        assert_eq!(TokenLengths::of((1..=100).rev()), Some(hundred));
    }
}
