//! Errors of splitting labeled text.

/// Examples that cannot be split.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// The fractions of one table leave a set empty.
    #[error(
        "fractions: expected a training and a validation fraction above 0 with a sum below 1, \
         which leaves a test set, got {train} and {validation}"
    )]
    Fractions {
        /// Fraction of the training set.
        train: f64,
        /// Fraction of the validation set.
        validation: f64,
    },
    /// The fractions do not divide a training file.
    #[error(
        "fractions: expected a training and a validation fraction above 0, got {train} and \
         {validation}"
    )]
    SeparateFractions {
        /// Fraction of the training set.
        train: f64,
        /// Fraction of the validation set.
        validation: f64,
    },
    /// A set would be empty.
    #[error(
        "too few examples{}, expected at least 1 each in training, validation and test set, got {}",
        if *balanced { " after undersampling every class to the size of the smallest" } else { "" },
        sizes.map(|size| size.to_string()).join(", ")
    )]
    EmptySet {
        /// True if balancing dropped examples.
        balanced: bool,
        /// Examples of the training, validation and test set.
        sizes: [usize; 3],
    },
}
