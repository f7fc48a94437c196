//! Errors of the metrics.

/// Invalid labels or an invalid example. Examples are numbered from 0 in the order in
/// which they were given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassificationError {
    /// No labels.
    #[error("no labels: expected one for every class")]
    NoLabels,
    /// Two classes with one label.
    #[error("duplicate label {label:?}: classes {first} and {second} have it")]
    RepeatedLabel {
        /// Label.
        label: String,
        /// First class.
        first: usize,
        /// Second class.
        second: usize,
    },
    /// No examples.
    #[error("no examples: expected at least one")]
    NoExamples,
    /// Class without a label.
    #[error("example {example}: expected a class from 0 to {last}, got {class}")]
    UnknownClass {
        /// Example.
        example: usize,
        /// Class.
        class: usize,
        /// Last class with a label.
        last: usize,
    },
    /// Wrong number of probabilities.
    #[error("example {example}: expected {expected} probabilities, one per class, got {found}")]
    Length {
        /// Example.
        example: usize,
        /// Number of probabilities.
        found: usize,
        /// Number of classes.
        expected: usize,
    },
    /// Not a probability, for example NaN or a logit.
    #[error("example {example}: expected a probability of {label:?} from 0 to 1, got {value}")]
    Probability {
        /// Example.
        example: usize,
        /// Label of the class.
        label: String,
        /// Value.
        value: f64,
    },
    /// Probabilities with a wrong sum.
    #[error("example {example}: expected probabilities that sum to 1, got a sum of {sum}")]
    Sum {
        /// Example.
        example: usize,
        /// Sum.
        sum: f64,
    },
}
