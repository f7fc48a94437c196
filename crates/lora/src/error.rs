//! Errors, each displayed as one sentence.

use std::path::PathBuf;

use storage::terminal_safe;
use tch::TchError;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is invalid.
    #[error("{}", terminal_safe(.0))]
    Config(String),
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
    #[error("{layer}: {reason}")]
    Layer {
        /// The layer.
        layer: String,
        /// The problem.
        reason: String,
    },
    /// An adapter file cannot be read or written.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// An adapter file is damaged, or is not an adapter.
    #[error("{}: {}", path.display(), terminal_safe(.reason))]
    Format {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
    /// An adapter does not fit the model.
    #[error(
        "{} does not fit this model: {}; give the model that the adapter was trained on",
        path.display(), first(problems.iter().map(|problem| terminal_safe(problem)), 3, "; ", " tensors")
    )]
    Mismatch {
        /// The adapter's weight file.
        path: PathBuf,
        /// One entry for each missing, unused or wrongly shaped tensor.
        problems: Vec<String>,
    },
    /// libtorch refused an operation.
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] TchError),
}

impl From<tensor_files::Error> for Error {
    fn from(error: tensor_files::Error) -> Self {
        match error {
            tensor_files::Error::Storage(error) => Self::Storage(error),
            tensor_files::Error::Format { path, reason } => Self::Format { path, reason },
            error => Self::Config(error.to_string()),
        }
    }
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
