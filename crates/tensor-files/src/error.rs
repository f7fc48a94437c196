//! Errors, each displayed as one sentence.

use std::path::{Path, PathBuf};

use storage::terminal_safe;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A file is damaged, or not a file of tensors.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: FormatProblem,
    },
}

impl Error {
    pub(crate) fn format(path: &Path, problem: impl Into<FormatProblem>) -> Self {
        Self::Format { path: path.to_owned(), problem: problem.into() }
    }
}

/// Problem of a weight file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatProblem {
    /// A git-lfs pointer in place of the file.
    #[error("a git-lfs pointer, not the file itself; fetch the file with `git lfs pull`")]
    LfsPointer,
    /// A damaged safetensors file.
    #[error(
        "not a whole safetensors file ({}); copy it again or fetch it again",
        terminal_safe(reason)
    )]
    Safetensors {
        /// Message of the parser.
        reason: String,
    },
    /// A pickle of PyTorch before 1.6, or another file with its extension.
    #[error(
        "not a checkpoint of PyTorch 1.6 or newer; load it in Python and save it as safetensors"
    )]
    LegacyPickle,
    /// A damaged zip archive.
    #[error(
        "not a whole PyTorch checkpoint ({}); copy it again or fetch it again",
        terminal_safe(reason)
    )]
    Archive {
        /// Message of the zip reader.
        reason: String,
    },
    /// A checkpoint without `data.pkl`.
    #[error(
        "not a whole PyTorch checkpoint (data.pkl is missing); copy it again or fetch it again"
    )]
    NoPickle,
    /// A storage that the file does not contain as a whole.
    #[error(
        "not a whole PyTorch checkpoint (data/{} is incomplete); copy it again or fetch it again",
        terminal_safe(storage)
    )]
    IncompleteStorage {
        /// Name of the storage.
        storage: String,
    },
    /// A compressed storage.
    #[error("data/{} is compressed, which PyTorch never does", terminal_safe(storage))]
    CompressedStorage {
        /// Name of the storage.
        storage: String,
    },
    /// Another byte order than little-endian.
    #[error("byte order: expected little-endian, got {}", terminal_safe(order))]
    ByteOrder {
        /// The byte order.
        order: String,
    },
    /// A `data.pkl` too long for the names and shapes of tensors.
    #[error("its data.pkl is longer than {most} bytes")]
    LongPickle {
        /// Limit in bytes.
        most: u64,
    },
    /// A `data.pkl` that does not describe tensors.
    #[error("its pickle {0}")]
    Pickle(#[from] PickleProblem),
    /// A tensor whose storage is not in the file.
    #[error("{} has no storage data/{}", terminal_safe(tensor), terminal_safe(storage))]
    NoStorage {
        /// Name of the tensor.
        tensor: String,
        /// Name of the storage.
        storage: String,
    },
    /// A tensor with elements outside its storage.
    #[error("{} of shape {shape:?} has elements outside its storage", terminal_safe(tensor))]
    OutsideStorage {
        /// Name of the tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor whose strides do not match its shape.
    #[error("{}: expected {dimensions} strides, got {strides}", terminal_safe(tensor))]
    Strides {
        /// Name of the tensor.
        tensor: String,
        /// Number of dimensions.
        dimensions: usize,
        /// Number of strides.
        strides: usize,
    },
    /// A damaged index of shards.
    #[error("not an index of weight files: {}", terminal_safe(reason))]
    Index {
        /// Message of the JSON parser.
        reason: String,
    },
    /// An index that names a shard in another directory, or another kind of file.
    #[error(
        "\"{}\" is not the name of a .safetensors or .bin file beside it",
        terminal_safe(shard)
    )]
    ShardPath {
        /// Name of the shard.
        shard: String,
    },
    /// Shards that the index names and that are not beside it.
    #[error(
        "{missing} of its {shards} shards are missing, the first is {}; copy or fetch them to its \
         directory",
        terminal_safe(first)
    )]
    MissingShards {
        /// Number of missing shards.
        missing: usize,
        /// Number of shards.
        shards: usize,
        /// Name of the first missing shard.
        first: String,
    },
    /// A tensor of the index that no shard has.
    #[error("the shards have no tensor {}; fetch them again", terminal_safe(tensor))]
    MissingInShards {
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor that two shards have.
    #[error("{} is in two shards", terminal_safe(tensor))]
    InTwoShards {
        /// Name of the tensor.
        tensor: String,
    },
}

/// Problem of the pickle in a checkpoint; the message continues "its pickle".
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleProblem {
    /// A pickle of something else.
    #[error("is not a dictionary of tensors")]
    NotADictionary,
    /// The name of a function or class that tensors do not need. It was not called.
    #[error(
        "names {}.{}, which tensors do not need; nothing was executed",
        terminal_safe(module),
        terminal_safe(name)
    )]
    ForeignName {
        /// Module of Python.
        module: String,
        /// Name of the function or class.
        name: String,
    },
    /// An instruction that tensors do not need.
    #[error("has the instruction {0:#04x}, which tensors do not need")]
    Instruction(u8),
    /// A call with more arguments, or a shape with more dimensions, than PyTorch writes.
    #[error("has {count} {unit}, expected {most} or fewer")]
    TooMany {
        /// Number of arguments or dimensions.
        count: usize,
        /// "arguments" or "dimensions".
        unit: &'static str,
        /// Limit.
        most: usize,
    },
    /// A pickle that no version of PyTorch writes.
    #[error("is damaged: {0}")]
    Damaged(&'static str),
}

#[cfg(test)]
mod tests;
