//! Invalid arguments.

use storage::terminal_safe;

/// Invalid argument of a function.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentError {
    /// The lengths of packed rows do not add up to the number of token ids.
    #[error("token ids: expected {tokens}, the sum of the lengths of {rows} rows, got {ids}")]
    Lengths {
        /// Number of rows.
        rows: usize,
        /// Sum of their lengths.
        tokens: i64,
        /// Number of token ids.
        ids: usize,
    },
    /// A packed row without tokens.
    #[error("packed rows: expected at least 1 token in each, got a row without tokens")]
    EmptyRow,
    /// The standard deviation of random weights is invalid.
    #[error("random weights: standard deviation {deviation}: {reason}")]
    Deviation {
        /// Standard deviation.
        deviation: f32,
        /// Message of the distribution.
        reason: String,
    },
    /// Weights lack a parameter.
    #[error("{}: no weights are given", terminal_safe(name))]
    NoWeights {
        /// The parameter.
        name: String,
    },
    /// A parameter that the model does not have.
    #[error("{}: not a parameter of the model", terminal_safe(name))]
    UnknownParameter {
        /// The parameter.
        name: String,
    },
    /// A parameter of another shape.
    #[error("{}: expected shape {expected:?}, got {shape:?}", terminal_safe(name))]
    Shape {
        /// The parameter.
        name: String,
        /// Shape in the model.
        expected: Vec<i64>,
        /// Shape of the given tensor.
        shape: Vec<i64>,
    },
    /// The number of labels differs from the number of classes.
    #[error("labels: expected {classes}, one for each class, got {labels}")]
    LabelCount {
        /// Number of classes.
        classes: i64,
        /// Number of labels.
        labels: usize,
    },
    /// A head with a bias, which `transformers` does not support.
    #[error("head: transformers does not support a bias; fold it into the final norm first")]
    HeadBias,
    /// A classifier without classes.
    #[error("classes: expected at least 1, got 0")]
    NoClass,
    /// The model has no head of a language model.
    #[error(
        "language-model head: expected lm_head.weight, because tie_word_embeddings is false, got a \
         model without it"
    )]
    NoLanguageModelHead,
    /// The prompt is empty.
    #[error("prompt: empty, expected at least 1 token")]
    EmptyPrompt,
    /// The logits are NaN or infinite.
    #[error(
        "the logits after {tokens} tokens are NaN or infinite, because the weights are damaged"
    )]
    Logits {
        /// Tokens of the sequence.
        tokens: usize,
    },
    /// The temperature is not positive.
    #[error("temperature: expected a finite number above 0, got {0}")]
    Temperature(f64),
    /// No token can be sampled.
    #[error("top-k: expected at least 1, got 0")]
    TopK,
    /// No token can be sampled, or more than all.
    #[error("top-p: expected a number above 0, at most 1, got {0}")]
    TopP(f64),
    /// No token can be sampled.
    #[error("min-p: expected a number from 0 to 1, got {0}")]
    MinP(f64),
    /// The repetition penalty is not positive.
    #[error("repetition penalty: expected a finite number above 0, got {0}")]
    RepetitionPenalty(f64),
    /// A batch without prompts.
    #[error("batch size: expected at least 1, got 0")]
    BatchSize,
}
