//! Errors, each displayed as one sentence.

mod argument;
mod files;

use std::path::PathBuf;

use gpt2_config::summary;
pub use gpt2_config::{ConfigProblem, TensorProblem};
use tch::{Device, TchError};

pub use self::{argument::ArgumentError, files::FormatProblem};
use crate::{dtype::DType, engine::Unsupported};

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A `config.json` is not a usable GPT-2 configuration.
    #[error("{origin}: {problem}")]
    Config {
        /// The file, or `config` where it did not come from a file.
        origin: String,
        /// The problem.
        problem: ConfigProblem,
    },
    /// A weight file is damaged or of another format.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: FormatProblem,
    },
    /// A weight file does not hold the tensors that its configuration asks for.
    #[error(
        "{} does not fit its config.json: {}; give both files of one model",
        path.display(), summary(problems)
    )]
    Tensors {
        /// The file.
        path: PathBuf,
        /// One entry for each missing, extra or wrongly shaped tensor.
        problems: Vec<TensorProblem>,
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
    #[error(
        "token id {id} is outside the model's vocabulary of {vocab_size} tokens (vocab_size); give \
         a model of the tokenizer's vocabulary"
    )]
    TokenId {
        /// The id.
        id: i64,
        /// `vocab_size` of the model.
        vocab_size: i64,
    },
    /// An argument is invalid.
    #[error(transparent)]
    Argument(#[from] ArgumentError),
    /// A CUDA device was requested from a libtorch that was built without CUDA.
    #[error("this program was built with a libtorch without CUDA")]
    NoCuda,
    /// The requested CUDA device does not exist.
    #[error("cuda:{number} does not exist; {count} CUDA devices are usable")]
    NoDevice {
        /// Requested device number.
        number: usize,
        /// Number of usable CUDA devices.
        count: i64,
    },
    /// A device cannot compute in a number format.
    #[error("{dtype} is not supported on the {}", if device.is_cuda() { "CUDA device" } else { "CPU" })]
    UnsupportedDType {
        /// Requested number format.
        dtype: DType,
        /// Device of the model.
        device: Device,
    },
    /// The CPU kernels cannot compute the model.
    #[error(transparent)]
    Kernels(#[from] Unsupported),
    /// The CPU kernels refused an operation.
    #[error("CPU kernels: {0}")]
    Kernel(kernels::Error),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(#[source] std::io::Error),
    /// Memory ran out, on the CPU or on a CUDA device.
    #[error("there is not enough memory: {0}")]
    OutOfMemory(String),
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(String),
}

impl From<kernels::Error> for Error {
    fn from(error: kernels::Error) -> Self {
        match error {
            kernels::Error::Memory { bytes } => {
                Self::OutOfMemory(format!("{bytes} bytes are missing"))
            }
            error => Self::Kernel(error),
        }
    }
}

impl From<tensor_files::Error> for Error {
    fn from(error: tensor_files::Error) -> Self {
        match error {
            tensor_files::Error::Storage(error) => Self::Storage(error),
            tensor_files::Error::Format { path, problem } => {
                Self::Format { path, problem: problem.into() }
            }
        }
    }
}

impl From<gpt2_config::Error> for Error {
    fn from(error: gpt2_config::Error) -> Self {
        match error {
            gpt2_config::Error::Storage(error) => Self::Storage(error),
            gpt2_config::Error::Config { origin, problem } => Self::Config { origin, problem },
            gpt2_config::Error::Files(error) => error.into(),
        }
    }
}

/// libtorch messages for an allocation that failed: on the CPU, in C++ itself, on CUDA
/// devices, and in oneDNN, which does not give the cause.
const OUT_OF_MEMORY: [&str; 5] = [
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "out of memory",
    "could not create a primitive",
];

/// Keeps the one line of the message that matters, without the C++ stack that follows.
impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        let text = match error {
            TchError::Torch(text) => text,
            other => other.to_string(),
        };
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        // Some messages begin with the location in C++.
        let memory = lines.clone().find(|line| {
            let line = line.to_lowercase();
            OUT_OF_MEMORY.iter().any(|words| line.contains(words))
        });
        match memory {
            Some(line) => Self::OutOfMemory(line.trim_end_matches('.').to_owned()),
            None => Self::Torch(lines.next().unwrap_or("no message").to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
