//! What can go wrong, each in one sentence.

use std::path::PathBuf;

use tch::TchError;

use crate::{
    plain::plain,
    wording::{first_of, short_message},
};

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
    #[error("{origin}: {}", plain(.reason))]
    Config {
        /// The file, or `config` where it did not come from a file.
        origin: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A weight file is damaged or of another format.
    #[error("{}: {}", path.display(), plain(.reason))]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
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
    /// An argument has no meaning.
    #[error("{}", plain(.0))]
    Argument(String),
    /// The device that was asked for is not there.
    #[error("{0}")]
    Device(String),
    /// libtorch refused an operation.
    #[error("libtorch: {}", short_message(.0))]
    Torch(#[from] TchError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Error::from(TchError::Torch(text.to_owned())).to_string()
    }

    #[test]
    fn a_stack_of_cpp_is_left_out() {
        let text = "\n mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)\nException raised from \
                    meta at x.cpp:183\nframe #0: c10::Error::Error() + 0x58\n";
        assert_eq!(
            message(text),
            "libtorch: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"
        );
        assert_eq!(message(""), "libtorch: no message");
    }

    #[test]
    fn where_memory_ran_out_it_is_said_what_helps() {
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
            let said = message(text);
            for words in ["libtorch: there is not enough memory", kept, "--batch-size"] {
                assert!(said.contains(words), "{words:?} is not in {said:?}");
            }
            assert!(!said.contains('\n') && !said.contains("frame #"), "{said}");
        }
    }

    #[test]
    fn a_model_that_fits_nowhere_is_not_listed_whole() {
        let problems = (0..100).map(|number| format!("h.{number} is missing")).collect();
        let error = Error::Tensors { path: "a/model.safetensors".into(), problems }.to_string();
        assert_eq!(
            error,
            "a/model.safetensors does not fit its config.json: h.0 is missing; h.1 is missing; \
             h.2 is missing; and 97 more tensors; give both files of one model"
        );
    }
}
