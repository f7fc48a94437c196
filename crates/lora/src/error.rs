//! Errors, each displayed as one sentence.

mod files;

use std::path::PathBuf;

use storage::terminal_safe;
use tch::TchError;

pub use self::files::{FormatProblem, PeftSettingsProblem, TensorProblem};

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is invalid.
    #[error("{}: {problem}", terminal_safe(.setting))]
    Setting {
        /// The setting, with the key of an entry: `rank_pattern "c_attn"`.
        setting: String,
        /// The problem.
        problem: SettingProblem,
    },
    /// Two adapters that differ in scaling or DoRA cannot be one.
    #[error("two adapters that differ in scaling or DoRA cannot be joined")]
    DifferentScaling,
    /// A target names no layer of the model.
    #[error(
        "no linear layer is called {}; the model has {}",
        first(quoted(targets), 12, ", ", ""),
        first(quoted(layers), 12, ", ", "")
    )]
    UnknownTarget {
        /// The targets that matched nothing.
        targets: Vec<String>,
        /// The names that can be targets.
        layers: Vec<String>,
    },
    /// The weight of a layer is not a matrix, or cannot be divided into its slices.
    #[error("{layer}: {problem}")]
    Layer {
        /// The layer.
        layer: String,
        /// The problem.
        problem: LayerProblem,
    },
    /// An adapter file cannot be read or written.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// An adapter file is damaged, or is not an adapter.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: FormatProblem,
    },
    /// An adapter does not fit the model.
    #[error(
        "{} does not fit this model: {}; give the model that the adapter was trained on",
        path.display(), first(problems.iter().map(ToString::to_string), 3, "; ", " tensors")
    )]
    Mismatch {
        /// The adapter's weight file.
        path: PathBuf,
        /// One entry for each missing, unused or wrongly shaped tensor.
        problems: Vec<TensorProblem>,
    },
    /// libtorch refused an operation.
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] TchError),
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

/// Problem of a setting.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingProblem {
    /// The rank is too small or too large.
    #[error("expected a rank of 1 to {most}, got {rank}")]
    Rank {
        /// The rank.
        rank: i64,
        /// The largest one.
        most: i64,
    },
    /// α is NaN, infinite, or outside the range of float32.
    #[error("expected a finite number in the range of float32, got {0:?}")]
    Alpha(f64),
    /// α is not positive with PiSSA, which divides by the root of the factor.
    #[error("PiSSA needs a number above 0, got {0:?}")]
    PissaAlpha(f64),
    /// The dropout is not a probability, or drops everything.
    #[error("expected a probability of at least 0 and below 1, got {0:?}")]
    Dropout(f64),
    /// No layer is adapted.
    #[error("no target is given")]
    NoTarget,
    /// A pattern is not a regular expression.
    #[error("\"{}\" is not a regular expression: {}", terminal_safe(.pattern), terminal_safe(.reason))]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The problem.
        reason: String,
    },
    /// A key of a pattern matches no adapted layer.
    #[error("it matches no adapted layer")]
    Unused,
}

/// Problem of a layer that is to be adapted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerProblem {
    /// The weight is not a matrix.
    #[error("expected a weight of shape [out, in], got {shape:?}")]
    NotAMatrix {
        /// Shape of the weight.
        shape: Vec<i64>,
    },
    /// The outputs cannot be divided into equal slices.
    #[error("{outputs} outputs cannot be divided into {slices} slices")]
    Indivisible {
        /// Number of outputs.
        outputs: i64,
        /// Number of slices.
        slices: i64,
    },
}

fn quoted(names: &[String]) -> impl Iterator<Item = String> {
    names.iter().map(|name| format!("\"{}\"", terminal_safe(name)))
}

/// Joins the first `most` items and counts the rest.
fn first(items: impl Iterator<Item = String>, most: usize, separator: &str, unit: &str) -> String {
    let mut all: Vec<String> = items.collect();
    let more = all.len().saturating_sub(most);
    all.truncate(most);
    let shown = all.join(separator);
    if more == 0 { shown } else { format!("{shown}{separator}and {more} more{unit}") }
}

/// Returns the message of a libtorch error without the C++ stack that follows it.
fn first_line(error: &TchError) -> String {
    let text = match error {
        TchError::Torch(text) => text.clone(),
        other => other.to_string(),
    };
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests;
