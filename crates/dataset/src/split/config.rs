//! Settings of a split.

use serde::{Deserialize, Serialize};

use crate::labeled::Quotes;

/// Settings of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitConfig {
    /// Seed of the sampling and of the shuffle (pandas' `random_state`).
    pub seed: u32,
    /// Undersample every class to the size of the smallest.
    pub balance: bool,
    /// Fraction of the examples in the training set, above 0 and below 1.
    pub train: f64,
    /// Fraction of the examples in the validation set; the rest is the test set.
    pub validation: f64,
    /// Treatment of quotation marks around texts.
    pub quotes: Quotes,
    /// Stratified split: each class is split by itself, so that each set has its fraction of it.
    #[serde(default)]
    pub stratify: bool,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self {
            seed: 123,
            balance: true,
            train: 0.7,
            validation: 0.1,
            quotes: Quotes::Keep,
            stratify: false,
        }
    }
}
