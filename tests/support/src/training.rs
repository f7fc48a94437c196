//! Training runs on the tiny model.

use std::path::Path;

use crate::{Finished, fixture, run};

/// Runs `trainer` on the tiny model and `messages.tsv` of the fixtures. `options` are
/// split at spaces, and results are written to `out` in the working directory.
pub fn train(options: &str) -> Finished {
    let mut arguments = training(&fixture("tiny"), &fixture("messages.tsv"), Path::new("out"));
    arguments.extend(options.split_whitespace().map(String::from));
    run("trainer", arguments)
}

/// Runs `trainer` for one epoch on the given files.
pub fn train_on(model: &Path, data: &Path, out: &Path) -> Finished {
    let mut arguments = training(model, data, out);
    arguments.extend(["--epochs".to_owned(), "1".to_owned()]);
    run("trainer", arguments)
}

/// Options for the model, the data and the output folder.
pub fn training(model: &Path, data: &Path, out: &Path) -> Vec<String> {
    let pairs = [("--model", model), ("--data", data), ("--out", out)];
    pairs.into_iter().flat_map(|(name, path)| [name.into(), path.display().to_string()]).collect()
}
