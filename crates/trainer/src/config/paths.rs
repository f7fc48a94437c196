//! Where models, data and results are.
//!
//! Names such as `gpt2` and the defaults mean folders of the project that the
//! program is run in: the nearest folder upwards that has `weights/` and
//! `datasets/`, else the current one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gpt2_model::{Gpt2, Gpt2Config};
use tch::Device;

use crate::{
    error::{Error, Result},
    run::directory::RESULTS,
};

/// The project that the program is run in.
fn project() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let is_project =
        |folder: &&Path| folder.join("weights").is_dir() && folder.join("datasets").is_dir();
    here.ancestors().find(is_project).unwrap_or(&here).to_owned()
}

/// A path of the project as short as it can be said from here.
fn in_project(path: &str) -> PathBuf {
    let project = project();
    let here = std::env::current_dir().unwrap_or_default();
    if project == here { PathBuf::from(path) } else { project.join(path) }
}

/// Whether it is a folder of `weights/` of the project.
fn is_in_weights(folder: &Path) -> bool {
    folder.parent().is_some_and(|parent| parent == in_project("weights"))
}

/// The folder of a model that is given as a folder or by name.
///
/// # Errors
/// [`Error::Missing`] if the model is not there, with what to do.
pub fn model(model: &str, random_init: bool) -> Result<PathBuf> {
    let given = PathBuf::from(model);
    let is_path = given.is_dir() || model.contains(['/', '\\']);
    let folder = if is_path { given } else { in_project("weights").join(model) };
    let known = !is_path && Gpt2Config::named(model).is_some();
    // A published shape needs no file. Its folder may be there without one, where a fetch
    // has failed.
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_published = known || (is_in_weights(&folder) && Gpt2Config::named(name).is_some());
    let needed: &[&str] = match (random_init, is_published) {
        (true, true) => &[],
        (true, false) => &["config.json"],
        (false, _) => &["config.json", "model.safetensors"],
    };
    match needed.iter().find(|file| !folder.join(file).is_file()) {
        None => Ok(folder),
        Some(file) if known => Err(Error::Missing(format!(
            "{} has no {file}; fetch it with `cargo xtask fetch-weights {model}`, or try the small \
             model that ships with the project, --model pocket",
            folder.display()
        ))),
        Some(file) => Err(Error::Missing(format!(
            "{} has no {file}; give --model a folder in the Hugging Face layout of GPT-2, \
             or a name: pocket, {}",
            folder.display(),
            Gpt2Config::NAMES.join(", ")
        ))),
    }
}

/// What a model is called where others are to find it too: the name of a folder below
/// `weights/`, else the folder.
pub fn name_of(folder: &Path) -> String {
    match folder.file_name().filter(|_| is_in_weights(folder)) {
        Some(name) => name.to_string_lossy().into_owned(),
        None => folder.display().to_string(),
    }
}

/// Loads the body of a model from its folder, or draws its weights.
///
/// # Errors
/// [`Error::Model`] names the file at fault.
pub fn load(folder: &Path, random_init: bool, seed: u64, device: Device) -> Result<Gpt2> {
    if !random_init {
        return Ok(Gpt2::load(folder, device)?);
    }
    let file = folder.join("config.json");
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let config = match Gpt2Config::named(name) {
        Some(config) if !file.is_file() => config,
        _ => Gpt2Config::from_file(&file)?,
    };
    Ok(Gpt2::random(&config, seed, device)?)
}

/// The file with the labelled text.
///
/// # Errors
/// [`Error::Missing`] if it is not there, with what to do.
pub fn data(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(file) if file.is_file() => Ok(file.to_owned()),
        Some(file) => Err(Error::Missing(format!(
            "{} is no file; give --data (or --validation-data, --test-data) a file of labelled \
             text",
            file.display()
        ))),
        None => {
            let file = in_project("datasets/sms-spam/SMSSpamCollection");
            if file.is_file() {
                return Ok(file);
            }
            Err(Error::Missing(format!(
                "{} is not there; fetch it with `cargo xtask fetch-dataset`, or give --data FILE",
                file.display()
            )))
        }
    }
}

/// The folder for the results: the given one, or the first free `runs/<model>-N`, which
/// is made.
///
/// # Errors
/// [`Error::Write`] if it cannot be made.
pub fn out(given: Option<&Path>, model: &str) -> Result<PathBuf> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    let runs = in_project("runs");
    fs::create_dir_all(&runs).map_err(|source| Error::Write { path: runs.clone(), source })?;
    let name = Path::new(model).file_name().and_then(|name| name.to_str()).unwrap_or("run");
    for number in 1u32.. {
        let folder = runs.join(format!("{name}-{number}"));
        // Making the folder is what claims the number, also against another run.
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::Write { path: folder, source }),
        }
    }
    Err(Error::Config(format!("no free name is left in {}", runs.display())))
}

/// What an evaluation leaves in its folder.
const OF_EVALUATION: [&str; 3] = ["mistakes.jsonl", "evaluation.json", "evaluation.html"];

/// Refuses files to read from whose place results would take in the folder `out`.
///
/// # Errors
/// [`Error::Config`] names the first.
pub fn apart<'a>(files: impl IntoIterator<Item = &'a Path>, out: &Path) -> Result<()> {
    // A folder that is not there has nothing in it.
    let Ok(folder) = out.canonicalize() else { return Ok(()) };
    for file in files {
        let Ok(path) = file.canonicalize() else { continue };
        if RESULTS.iter().chain(&OF_EVALUATION).any(|name| path == folder.join(name)) {
            return Err(Error::Config(format!(
                "{} would be replaced by a result of the same name; give --out another folder than \
                 {}",
                file.display(),
                out.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_model_names_the_command_that_fetches_it() {
        let error = model("gpt2-xl", false).unwrap_err().to_string();
        assert!(error.contains("`cargo xtask fetch-weights gpt2-xl`"), "{error}");
        let error = model("some/folder", false).unwrap_err().to_string();
        assert!(error.contains("--model"), "{error}");
        assert!(model("gpt2-xl", true).is_ok());
        assert!(model("unknown", true).is_err());
    }

    #[test]
    fn what_is_read_is_not_where_results_go() {
        let folder = tempfile::tempdir().unwrap();
        let (data, inner) = (folder.path().join("train.csv"), folder.path().join("inner"));
        fs::write(&data, "text,label").unwrap();
        let error = apart([data.as_path()], folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("train.csv would be replaced") && error.contains("--out"),
            "{error}"
        );
        assert!(apart([data.as_path()], &inner.join("..")).is_ok(), "not there yet");
        fs::create_dir(&inner).unwrap();
        assert!(apart([data.as_path()], &inner).is_ok());
        assert!(apart([data.as_path()], &inner.join("..")).is_err());
        let other = folder.path().join("data.csv");
        fs::write(&other, "").unwrap();
        assert!(apart([other.as_path()], folder.path()).is_ok());
    }
}
