//! How errors are said, of libtorch and of many tensors. `lora`, which does not depend
//! on this crate, is built with this file too.

use tch::TchError;

use crate::plain::plain;

/// The first problems, and how many more there are.
pub(crate) fn first_of(problems: &[String]) -> String {
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
