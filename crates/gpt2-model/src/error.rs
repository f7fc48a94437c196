//! Errors, each displayed as one sentence.

use std::path::PathBuf;

use storage::terminal_safe;
use tch::{Device, TchError};

use crate::dtype::DType;

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
    #[error("{origin}: {}", terminal_safe(.reason))]
    Config {
        /// The file, or `config` where it did not come from a file.
        origin: String,
        /// The problem and what was expected.
        reason: String,
    },
    /// A weight file is damaged or of another format.
    #[error("{}: {}", path.display(), terminal_safe(.reason))]
    Format {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
    /// A weight file does not hold the tensors that its configuration asks for.
    #[error(
        "{} does not fit its config.json: {}; give both files of one model",
        path.display(), first_of(problems)
    )]
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
    #[error("{}", terminal_safe(.0))]
    Argument(String),
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
    #[error("{dtype} is not supported on device {device:?}")]
    UnsupportedDType {
        /// Requested number format.
        dtype: DType,
        /// Device of the model.
        device: Device,
    },
    /// Memory ran out, on the CPU or on a CUDA device.
    #[error("there is not enough memory: {0}")]
    OutOfMemory(String),
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(String),
}

impl From<tensor_files::Error> for Error {
    fn from(error: tensor_files::Error) -> Self {
        match error {
            tensor_files::Error::Storage(error) => Self::Storage(error),
            tensor_files::Error::Format { path, reason } => Self::Format { path, reason },
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

/// Joins the first three problems and counts the rest.
fn first_of(problems: &[String]) -> String {
    const MOST: usize = 3;
    let shown: Vec<String> =
        problems.iter().take(MOST).map(|problem| terminal_safe(problem)).collect();
    let shown = shown.join("; ");
    match problems.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown}; and {more} more tensors"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Error::from(TchError::Torch(text.to_owned())).to_string()
    }

    #[test]
    fn the_cpp_stack_is_left_out() {
        let text = "\n mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)\nException raised from \
                    meta at x.cpp:183\nframe #0: c10::Error::Error() + 0x58\n";
        assert_eq!(
            message(text),
            "libtorch: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"
        );
        assert_eq!(message(""), "libtorch: no message");
    }

    #[test]
    fn out_of_memory_is_recognized() {
        let cpu = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't \
                   allocate memory: you tried to allocate 4096 bytes. Error code 12 (Cannot \
                   allocate memory)\nframe #0: c10::ThrowEnforceNotMet()\n";
        let cuda = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of \
                    8.00 GiB of which 1.00 GiB is free.\nException raised from malloc at \
                    CUDACachingAllocator.cpp:1437\nframe #0: c10::Error::Error()\n";
        let late = "Exception raised\nCUDA error: out of memory\nframe #0: x\n";
        let windows = "[enforce fail at alloc_cpu.cpp:115] data. DefaultCPUAllocator: not enough \
                       memory: you tried to allocate 8 bytes.";
        for (text, kept) in [
            (cpu, "you tried to allocate 4096 bytes"),
            (cuda, "Tried to allocate 2.00 GiB"),
            (late, "CUDA error: out of memory"),
            (windows, "you tried to allocate 8 bytes"),
            ("std::bad_alloc", "std::bad_alloc"),
            ("could not create a primitive", "could not create a primitive"),
        ] {
            let error = Error::from(TchError::Torch(text.to_owned()));
            assert!(matches!(error, Error::OutOfMemory(_)), "{error:?}");
            let message = error.to_string();
            for words in ["there is not enough memory", kept] {
                assert!(message.contains(words), "{words:?} is not in {message:?}");
            }
            assert!(!message.contains('\n') && !message.contains("frame #"), "{message}");
        }
    }

    #[test]
    fn the_first_three_problems_are_listed() {
        let problems = (0..100).map(|number| format!("h.{number} is missing")).collect();
        let error = Error::Tensors { path: "a/model.safetensors".into(), problems }.to_string();
        assert_eq!(
            error,
            "a/model.safetensors does not fit its config.json: h.0 is missing; h.1 is missing; \
             h.2 is missing; and 97 more tensors; give both files of one model"
        );
    }
}
