//! Rows that say nothing about a classifier.

/// A row, or a set of labels, that cannot be measured. Rows are counted from 0 in
/// the order in which they were given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassificationError {
    /// No label at all.
    #[error("a classifier without labels cannot be measured; give the label of every class")]
    NoLabels,
    /// Two classes of one name.
    #[error("the label {label:?} names class {first} and class {second}; labels have to differ")]
    RepeatedLabel {
        /// The name.
        label: String,
        /// Its first class.
        first: usize,
        /// Its second class.
        second: usize,
    },
    /// No row at all.
    #[error("there is no row to measure; give at least one")]
    NoRows,
    /// A class without a label.
    #[error("row {row} is of class {class}, but there are only the classes 0 to {last}")]
    UnknownClass {
        /// The row.
        row: usize,
        /// Its class.
        class: usize,
        /// The last class that has a label.
        last: usize,
    },
    /// Probabilities missing, or too many of them.
    #[error("row {row} has {found} probabilities, but there are {expected} classes")]
    Length {
        /// The row.
        row: usize,
        /// Probabilities given.
        found: usize,
        /// Classes.
        expected: usize,
    },
    /// No probability, for example `NaN` or a logit.
    #[error("row {row} has {value} for the probability of {label:?}; it has to be from 0 to 1")]
    Probability {
        /// The row.
        row: usize,
        /// The class whose probability it should be.
        label: String,
        /// What was given.
        value: f64,
    },
    /// Probabilities that are not those of classes of which one is right.
    #[error("the probabilities of row {row} add up to {sum}; they have to add up to 1")]
    Sum {
        /// The row.
        row: usize,
        /// Their sum.
        sum: f64,
    },
}
