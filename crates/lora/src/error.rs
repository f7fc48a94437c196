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
    /// A setting has no meaning.
    #[error("{}", plain(.0))]
    Config(String),
    /// A target names no layer of the model.
    #[error(
        "no linear layer is called {}; the model has {}", quoted(.targets), quoted(.layers)
    )]
    UnknownTarget {
        /// The targets that matched nothing.
        targets: Vec<String>,
        /// The names that can be targets.
        layers: Vec<String>,
    },
    /// A layer has parts that its weight cannot be cut into.
    #[error("{layer}: {reason}")]
    Layer {
        /// The layer.
        layer: String,
        /// What does not fit.
        reason: String,
    },
    /// An adapter file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason the system gave.
        source: std::io::Error,
    },
    /// An adapter file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason the system gave.
        source: std::io::Error,
    },
    /// An adapter file is damaged, or is not an adapter.
    #[error("{}: {}", path.display(), plain(.reason))]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An adapter does not fit the model.
    #[error(
        "{} does not fit this model: {}; give the model that the adapter was trained on",
        path.display(), first_of(problems)
    )]
    Mismatch {
        /// The adapter's weight file.
        path: PathBuf,
        /// One entry for each missing, unused or wrongly shaped tensor.
        problems: Vec<String>,
    },
    /// libtorch refused an operation.
    #[error("libtorch: {}", short_message(.0))]
    Torch(#[from] TchError),
}

fn quoted(names: &[String]) -> String {
    /// More are not read.
    const MOST: usize = 12;
    let shown = names.iter().take(MOST).map(|name| format!("\"{}\"", plain(name)));
    let shown: Vec<String> = shown.collect();
    let more = names.len().saturating_sub(MOST);
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
