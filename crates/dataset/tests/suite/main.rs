//! The crate against NumPy, pandas, PyTorch and tiktoken (`fixtures/make.py`),
//! and against its own promises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod batches;
mod files;
mod generators;
mod given;
mod hostile;
mod messages;
mod pandas;
mod sms;
mod split;
mod tables;
mod tokens;
mod writing;

use dataset::{Example, Message};
use serde::de::DeserializeOwned;

/// A file of `fixtures/`.
fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A message for each label, whose text is its row.
fn messages<S: AsRef<str>>(labels: impl IntoIterator<Item = S>) -> Vec<Message> {
    labels
        .into_iter()
        .enumerate()
        .map(|(row, label)| Message {
            label: label.as_ref().to_owned(),
            text: format!("row {row}"),
            row,
        })
        .collect()
}

fn rows(examples: &[Example]) -> Vec<usize> {
    examples.iter().map(|example| example.row).collect()
}
