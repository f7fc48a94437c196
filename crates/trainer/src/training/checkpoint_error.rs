//! Errors of checkpoints.

use std::path::PathBuf;

use storage::terminal_safe;

/// Why a checkpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file is incomplete or was changed.
    #[error(
        "damaged checkpoint ({}); delete it, and --resume continues from an earlier one, or from the start",
        terminal_safe(.0)
    )]
    Damaged(String),
    /// The file has no such tensor.
    #[error(
        "expected a tensor {} of shape {shape:?}, which the file does not have; it belongs to a model of another shape",
        terminal_safe(name)
    )]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// Its expected shape.
        shape: Vec<i64>,
    },
    /// The run had other settings.
    #[error(
        "the run was started with other settings ({}); resume with these, or choose another --out",
        terminal_safe(&changed.join(", "))
    )]
    Settings {
        /// Settings that differ, with their previous values.
        changed: Vec<String>,
    },
    /// The run had another base model or other data.
    #[error("the run was started with another {input}; restore its files, or choose another --out")]
    Input {
        /// The model or the data.
        input: &'static str,
    },
    /// The metrics of the run were written after the checkpoint, or changed.
    #[error(
        "{} does not belong to this checkpoint; restore it, or delete the checkpoint, and --resume continues from an earlier one, or from the start",
        path.display()
    )]
    Metrics {
        /// `metrics.jsonl`.
        path: PathBuf,
    },
}
