//! Errors of random number generators.

/// Damaged state of a random number generator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The block has too many or too few words.
    #[error("expected {expected} words, got {words}")]
    Block {
        /// Words of a block.
        expected: usize,
        /// Words of this one.
        words: usize,
    },
    /// The next word is outside the block.
    #[error("expected an index of at most {most} for the next word, got {next}")]
    Next {
        /// Largest index.
        most: usize,
        /// Index of the next word.
        next: usize,
    },
}
