//! Measures of tokens.

use serde::{Deserialize, Serialize};

/// Measures of a set of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenMeasures {
    /// Number of tokens.
    pub tokens: usize,
    /// Mean cross-entropy of a token, in nats.
    pub loss: f64,
    /// Perplexity: e to the loss.
    pub perplexity: f64,
    /// Fraction of the tokens that are the most probable one, from 0 to 1.
    pub accuracy: f64,
}
