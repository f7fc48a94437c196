//! Misclassified examples.

use serde::Serialize;

/// Misclassified example: a line of `misclassified.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MisclassifiedExample {
    /// Row in the file, from 0.
    pub row: usize,
    /// True label.
    pub label: String,
    /// Predicted label.
    pub predicted: String,
    /// Probability of the predicted label, from 0 to 1.
    pub probability: f64,
    /// Probability of the true label.
    pub probability_of_label: f64,
    /// Text.
    pub text: String,
}
