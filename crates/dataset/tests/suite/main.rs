//! Golden tests against NumPy, pandas, PyTorch and tiktoken (`fixtures/make.py`), and
//! integration tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod batches;
mod completions;
mod detection;
mod generators;
mod headerless_tsv;
mod hostile;
mod inputs;
mod labels;
mod model_tokenizers;
mod pandas;
mod pass_through;
mod prepared;
mod round_trips;
mod segment_tokens;
mod separate_files;
mod shards;
mod sms;
mod split;
mod tables;
mod tokens;
mod unusual_completions;
mod validation;
mod writing;

use std::path::Path;

use dataset::{Example, LabeledFiles, LabeledText, PreparedSplit, Result, SplitConfig};
use serde::de::DeserializeOwned;

/// Reads a file of `fixtures/`.
fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Examples with these labels; the text of each is its row.
fn labeled<S: AsRef<str>>(labels: impl IntoIterator<Item = S>) -> Result<LabeledText> {
    let example = |(row, label): (usize, S)| (label.as_ref().to_owned(), format!("row {row}"));
    LabeledText::new(labels.into_iter().enumerate().map(example))
}

/// Prepares a split and writes it.
fn prepare(
    files: &LabeledFiles,
    config: &SplitConfig,
    directory: impl AsRef<Path>,
) -> Result<PreparedSplit> {
    let prepared = PreparedSplit::new(files, config, directory)?;
    prepared.write()?;
    Ok(prepared)
}

/// Checks that a prepared split is the same as an earlier one, read from its files.
fn assert_reused(prepared: &PreparedSplit, earlier: &PreparedSplit) {
    let mut expected = earlier.clone();
    expected.reused = true;
    // Only reading the source gives notes.
    expected.notes.clear();
    assert!(*prepared == expected, "{prepared:?}");
}

fn rows(examples: &[Example]) -> Vec<usize> {
    examples.iter().map(|example| example.row).collect()
}
