//! Results of an evaluation of a language model.

use serde::Serialize;

use crate::metrics::{TokenMeasures, confidence_interval::Interval};

/// Result of an evaluation of a language model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LanguageModelEvaluation {
    /// Evaluated examples.
    pub examples: usize,
    /// Evaluated tokens: of completions, or of texts, and the end-of-text token after each.
    pub tokens: usize,
    /// Mean cross-entropy of these tokens in nats.
    pub loss: f64,
    /// Exponential of the loss.
    pub perplexity: f64,
    /// Fraction of these tokens that are the most probable one.
    pub token_accuracy: f64,
    /// Measures of all tokens, of prompts too; `None` for texts, which have no prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all_tokens: Option<TokenMeasures>,
    /// Examples that are longer than the model's context and were truncated.
    pub truncated: usize,
    /// Examples that were skipped: with an empty or missing text, completion or answer, or with a prompt
    /// that fills the model's context.
    pub skipped: usize,
    /// Generated completions that were compared with the completions of the data: the last one of a
    /// conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<usize>,
    /// Fraction of these that are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_match: Option<f64>,
    /// 95 % confidence interval of that fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_match_interval: Option<Interval>,
    /// Notes on the data, one sentence each.
    #[serde(skip)]
    pub notes: Vec<String>,
    /// Results of the examples in the order of the data.
    #[serde(skip)]
    pub scored: Vec<ScoredExample>,
    /// Examples with the highest loss, highest first.
    #[serde(skip)]
    pub highest_losses: Vec<HighLossExample>,
}

/// Result of an example.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoredExample {
    /// File and line, or row.
    pub place: String,
    /// Evaluated tokens.
    pub tokens: usize,
    /// Mean cross-entropy of these tokens in nats.
    pub loss: f64,
    /// Fraction of these tokens that are the most probable one.
    pub token_accuracy: f64,
    /// Completion of the data, and the generated one, if there is a prompt.
    #[serde(flatten)]
    pub answer: Option<CheckedAnswer>,
}

/// Generated completion and the completion of the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedAnswer {
    /// Completion of the data.
    pub expected: String,
    /// Generated completion.
    pub generated: String,
    /// True if they are equal.
    pub is_match: bool,
}

/// Example with a high loss, and its text as its tokens spell it.
#[derive(Clone, Debug, PartialEq)]
pub struct HighLossExample {
    /// Result.
    pub scored: ScoredExample,
    /// Text before the last completion; empty for texts, which have no prompt.
    pub prompt: String,
    /// Last completion, or the text.
    pub completion: String,
}
