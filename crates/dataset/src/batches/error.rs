//! Errors of batches.

/// Batches that cannot be made of a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The batch size is 0.
    #[error("batch size: expected at least 1, got 0")]
    ZeroSize,
    /// The set does not fill a batch, and an incomplete batch is dropped.
    #[error(
        "batch size: no batch is complete, expected at most {examples}, the number of examples, \
         got {batch_size}"
    )]
    NoCompleteBatch {
        /// Examples per batch.
        batch_size: usize,
        /// Examples in the set.
        examples: usize,
    },
    /// An index is out of range.
    #[error("example index: out of range, expected less than {examples}, got {index}")]
    Index {
        /// The index, from 0.
        index: usize,
        /// Examples in the set.
        examples: usize,
    },
    /// An example is longer than the padding.
    #[error(
        "padding width: too small, expected at least {longest} tokens, the length of the longest \
         example, got {width}"
    )]
    PaddingWidth {
        /// Tokens of the longest example.
        longest: usize,
        /// Tokens per padded example.
        width: usize,
    },
}
