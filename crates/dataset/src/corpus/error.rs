//! Errors of plain text.

/// Plain text that cannot be used for training.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// The held-out fraction is out of range.
    #[error("held-out fraction: out of range, expected a number above 0 and below 1, got {0}")]
    HeldOut(f64),
    /// The file is not a text.
    #[error("expected plain text, got a file that is {kind}")]
    NotText {
        /// Kind of the file.
        kind: &'static str,
    },
    /// There is no document to hold out, or none to train on.
    #[error("too few documents, expected at least 2, one of them for validation, got {documents}")]
    TooFewDocuments {
        /// Documents of the text.
        documents: usize,
    },
    /// Windows or batches of zero size.
    #[error(
        "windows: expected a width and a batch size of at least 1, got {width} and {batch_size}"
    )]
    EmptyWindows {
        /// Tokens per window.
        width: usize,
        /// Windows per batch.
        batch_size: usize,
    },
    /// The text does not fill one batch.
    #[error(
        "training set: too few tokens for one batch of {batch_size} × {width} tokens, expected at \
         least {}, got {tokens}", batch_size.saturating_add(1).saturating_mul(*width)
    )]
    TooFewTokens {
        /// Tokens of the text.
        tokens: usize,
        /// Windows per batch.
        batch_size: usize,
        /// Tokens per window.
        width: usize,
    },
}
