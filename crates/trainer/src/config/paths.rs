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

use crate::error::{Error, Result};

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

/// The files of text: those that are given, or the SMS Spam Collection.
///
/// # Errors
/// [`Error::Missing`] if one does not exist, with what to do.
pub fn data(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if let Some(file) = given.iter().find(|file| !file.is_file()) {
        return Err(Error::Missing(format!(
            "{} is not a file; give --data (or --validation-data, --test-data) a file of text",
            file.display()
        )));
    }
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let file = in_project("datasets/sms-spam/SMSSpamCollection");
    if file.is_file() {
        return Ok(vec![file]);
    }
    Err(Error::Missing(format!(
        "{} does not exist; fetch it with `cargo xtask fetch-dataset`, or give --data FILE",
        file.display()
    )))
}

/// The folder for the results: the given one, or the first free `runs/<model>-N`, which
/// is made.
///
/// # Errors
/// [`Error::Storage`] if it cannot be made.
pub fn out(given: Option<&Path>, model: &str) -> Result<PathBuf> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    let runs = in_project("runs");
    storage::create_directory(&runs)?;
    let name = Path::new(model).file_name().and_then(|name| name.to_str()).unwrap_or("run");
    for number in 1u32.. {
        let folder = runs.join(format!("{name}-{number}"));
        // Making the folder is what claims the number, also against another run.
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(storage::Error::write(folder)(error).into()),
        }
    }
    Err(Error::Config(format!("no free name is left in {}", runs.display())))
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
}
