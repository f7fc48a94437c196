//! Files of an evaluation in its folder.

use std::{fs, io::ErrorKind, path::Path};

use serde_json::Value;
use storage::create_directory;

use crate::{error::Result, inference::error::AdapterError};

/// Files of an evaluation.
pub(super) const REPORT: &str = "evaluation.json";
pub(super) const PAGE: &str = "evaluation.html";
pub(super) const MISCLASSIFIED: &str = "misclassified.jsonl";
/// Line per example of a language model.
pub(super) const EXAMPLES: &str = "examples.jsonl";
/// Names of all files of an evaluation, of a classifier or of a language model.
pub(crate) const FILES: [&str; 4] = [REPORT, PAGE, MISCLASSIFIED, EXAMPLES];

/// Creates the folder of an evaluation with these `files`, without the other files of an earlier one.
pub(super) fn begin_evaluation(folder: &Path, files: &[&str]) -> Result<()> {
    has_evaluation(folder)?;
    create_directory(folder)?;
    for name in FILES.iter().filter(|name| !files.contains(name)) {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(storage::Error::write(&path)(error).into());
            }
            _ => (),
        }
    }
    Ok(())
}

/// Returns whether a folder has an earlier evaluation, whose files a new one replaces.
///
/// # Errors
/// [`AdapterError::ForeignEvaluation`] for a folder with files of these names that were not written by an
/// evaluation.
pub fn has_evaluation(folder: &Path) -> Result<bool> {
    let report = fs::read(folder.join(REPORT)).unwrap_or_default();
    let report: Value = serde_json::from_slice(&report).unwrap_or_default();
    let kinds = [["accuracy", "confusion"], ["perplexity", "token_accuracy"]];
    let has = |kind: &[&str; 2]| kind.iter().all(|name| report.get(name).is_some());
    let is_evaluation = kinds.iter().any(has);
    match FILES.iter().find(|name| folder.join(name).exists()) {
        Some(name) if !is_evaluation => {
            Err(AdapterError::ForeignEvaluation { path: folder.join(name) }.into())
        }
        found => Ok(found.is_some()),
    }
}
