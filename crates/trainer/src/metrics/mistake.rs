//! A row that was classified wrongly.

use serde::Serialize;

/// A row that was classified wrongly: a line of `mistakes.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mistake {
    /// Its number in the file, from 0.
    pub row: usize,
    /// What it is.
    pub label: String,
    /// What it was taken for.
    pub predicted: String,
    /// The probability of what it was taken for, from 0 to 1.
    pub probability: f64,
    /// The probability of what it is.
    pub probability_of_label: f64,
    /// The text.
    pub text: String,
}
