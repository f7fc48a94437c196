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

/// What a file says, as a message repeats it: on one line, and with nothing that a
/// terminal would obey.
pub fn plain(text: &str) -> String {
    let is_obeyed = |char: char| match char {
        '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}' => true,
        char => char.is_control(),
    };
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        match is_obeyed(char) {
            true => line.extend(char.escape_default()),
            false => line.push(char),
        }
    }
    line
}

/// The first problems, and how many more there are.
fn first_of(problems: &[String]) -> String {
    /// More are not read.
    const MOST: usize = 3;
    let shown = plain(&problems.iter().take(MOST).cloned().collect::<Vec<_>>().join("; "));
    match problems.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown}; and {more} more tensors"),
    }
}

/// What libtorch says where memory ran out: on the CPU, of C++ itself, on CUDA devices,
/// and of oneDNN, which does not say why.
const NO_MEMORY: [&str; 5] = [
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "out of memory",
    "could not create a primitive",
];

/// What a libtorch error says: its first line, without the C++ stack that follows;
/// where memory ran out, also what to do.
pub fn short_message(error: &TchError) -> String {
    let text = match error {
        TchError::Torch(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // Some say the place in C++ alone in the first line.
    let memory = NO_MEMORY.iter().find_map(|words| {
        text.lines().map(str::trim).find(|line| line.to_lowercase().contains(words))
    });
    match memory {
        Some(line) => {
            let line = line.trim_end_matches('.');
            format!("there is not enough memory: {line}; {WITH_LESS_MEMORY}")
        }
        None => lines.next().unwrap_or("no message").to_owned(),
    }
}

/// What helps where memory ran out.
pub const WITH_LESS_MEMORY: &str = "use a smaller model, or fewer or shorter rows at a time \
    (in training --batch-size, --max-length, --gradient-checkpointing), or end other programs";

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
