//! What can go wrong, each in one sentence.

use std::path::PathBuf;

use tch::TchError;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason the system gave.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The reason the system gave.
        source: std::io::Error,
    },
    /// A `config.json` is not a usable GPT-2 configuration.
    #[error("{origin}: {reason}")]
    Config {
        /// The file, or `config` where it did not come from a file.
        origin: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A weight file is damaged or of another format.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A weight file does not hold the tensors that its configuration asks for.
    #[error("{} does not fit its config.json: {}", path.display(), problems.join("; "))]
    Tensors {
        /// The file.
        path: PathBuf,
        /// One entry for each missing, extra or wrongly shaped tensor.
        problems: Vec<String>,
    },
    /// A sequence does not fit the position embeddings.
    #[error(
        "a sequence of {length} tokens is longer than the model's context of {context} (n_positions)"
    )]
    TooLong {
        /// Tokens in the sequence, those in a cache included.
        length: i64,
        /// `n_positions` of the model.
        context: i64,
    },
    /// A token id is not in the vocabulary.
    #[error("token id {id} is outside the model's vocabulary of {vocab_size} tokens")]
    TokenId {
        /// The id.
        id: i64,
        /// `vocab_size` of the model.
        vocab_size: i64,
    },
    /// An argument has no meaning.
    #[error("{0}")]
    Argument(String),
    /// The device that was asked for is not there.
    #[error("{0}")]
    Device(String),
    /// libtorch refused an operation.
    #[error("libtorch: {}", short_message(.0))]
    Torch(#[from] TchError),
}

/// The first line of a libtorch error: what happened, without the C++ stack.
pub fn short_message(error: &TchError) -> String {
    let text = match error {
        TchError::Torch(text) => text.clone(),
        other => other.to_string(),
    };
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message").to_owned()
}
