//! What is in the folder of a run, and whether it is a run's at all.

use std::{fs, io::ErrorKind, path::Path};

use gpt2_model::read_settings;

use crate::{
    config::settings::RunConfig,
    error::{Error, Result},
    training::checkpoint,
    training::state_file::changes,
};

/// What a run writes first into its folder, by which the folder is known for its.
pub(crate) const CONFIG: &str = "config.json";

/// Names of what a run leaves in its folder.
pub(crate) const RESULTS: [&str; 17] = [
    CONFIG,
    "run.toml",
    "split.json",
    "train.csv",
    "validation.csv",
    "test.csv",
    "metrics.jsonl",
    "adapter_init",
    "adapter",
    "checkpoints",
    "predictions.jsonl",
    "loss.svg",
    "loss.png",
    "accuracy.svg",
    "accuracy.png",
    "report.json",
    "seeds.json",
];

/// The settings of the run that a folder is of, if it is of one.
pub(crate) fn begun_as(folder: &Path) -> Result<Option<RunConfig>> {
    let path = folder.join(CONFIG);
    match read_settings(&path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::FileTooLarge) => {
            Ok(None)
        }
        Err(error) => Err(Error::Config(format!("cannot read {}: {error}", path.display()))),
    }
}

/// Takes away what was being written in the folder of a run, or in `inner` ones of it, when
/// the process was killed: `.NAME.XXXXXX`.
pub(crate) fn sweep(folder: &Path, inner: &[&str]) -> Result<()> {
    let is_left = |name: &str, is_outer: bool| {
        let name = name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.'));
        name.is_some_and(|(name, letters)| {
            letters.len() == 6
                && letters.bytes().all(|letter| letter.is_ascii_alphanumeric())
                && (!is_outer || RESULTS.contains(&name) || name == "model.safetensors")
        })
    };
    let folders = inner.iter().map(|name| (folder.join(name), false));
    for (folder, is_outer) in folders.chain([(folder.to_owned(), true)]) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if is_left(&entry.file_name().to_string_lossy(), is_outer) {
                let path = entry.path();
                fs::remove_file(&path).map_err(|source| Error::Write { path, source })?;
            }
        }
    }
    Ok(())
}

/// Refuses a folder where the results of a run would take the place of something else.
pub(crate) fn check(folder: &Path) -> Result<()> {
    if begun_as(folder)?.is_some() {
        return Ok(());
    }
    match RESULTS.iter().find(|name| folder.join(name).symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(name) => Err(Error::Config(format!(
            "{}/{name} is no run's, for there is no {CONFIG} of one beside it; give --out another \
             folder",
            folder.display()
        ))),
    }
}

/// Refuses to go on in a folder whose run was begun with other settings.
pub(crate) fn check_begun(out: &Path, config: &RunConfig) -> Result<()> {
    let Some(was) = begun_as(out)? else { return Ok(()) };
    let json = |config: &RunConfig| {
        checkpoint::decisive(config).map_err(|error| Error::Config(error.to_string()))
    };
    let changed = changes(&json(&was)?, &json(config)?);
    if changed.is_empty() {
        return Ok(());
    }
    Err(Error::Config(format!(
        "the run in {} was begun with other settings ({}); go on with these, or give --out another \
         folder",
        out.display(),
        changed.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_something_else_is_no_run_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check(folder.path()).is_ok() && check(&folder.path().join("new")).is_ok());
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        assert!(check(folder.path()).is_ok());
        for (name, text) in [("config.json", "{}"), ("train.csv", "text,label"), ("adapter", "")] {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            let error = check(folder.path()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("give --out"), "{error}");
            fs::remove_file(file).unwrap();
        }
    }
}
