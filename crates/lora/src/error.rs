//! What can go wrong, each in one sentence.

use std::path::PathBuf;

use tch::TchError;

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
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] TchError),
}

/// What a file says, as a message repeats it: on one line, and with nothing that a
/// terminal would obey.
fn plain(text: &str) -> String {
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

/// What happened, without the C++ stack that follows.
fn first_line(error: &TchError) -> String {
    let text = match error {
        TchError::Torch(text) => text.clone(),
        other => other.to_string(),
    };
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message").to_owned()
}
