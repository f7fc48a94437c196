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
    // Links and relative paths have other names of the same folder.
    let same = |one: &Path, other: &Path| match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    };
    folder.parent().is_some_and(|parent| same(parent, &in_project("weights")))
}

/// Usual name of the weight file.
const WEIGHTS: &str = "model.safetensors";

/// Owner of the published models on the Hugging Face hub.
const PUBLISHER: &str = "openai-community/";

/// Snapshot in a directory of the hub's cache (`models--OWNER--NAME`): the one of the main
/// branch, else the only one. Any other directory is returned as it is.
///
/// # Errors
/// [`Error::Missing`] if the directory has no snapshot, or several.
pub fn snapshot(folder: PathBuf) -> Result<PathBuf> {
    let snapshots = folder.join("snapshots");
    if !snapshots.is_dir() {
        return Ok(folder);
    }
    let main = fs::read_to_string(folder.join("refs/main")).unwrap_or_default();
    let main = snapshots.join(main.trim());
    if main != snapshots.join("") && main.is_dir() {
        return Ok(main);
    }
    let entries = fs::read_dir(&snapshots).map_err(storage::Error::read(&snapshots))?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(Error::Missing(format!(
            "{} is a directory of the hub's cache without a snapshot; download the model again",
            folder.display()
        ))),
        (Some(_), others) => Err(Error::Missing(format!(
            "{} is a directory of the hub's cache with {} snapshots; give one of those in {}",
            folder.display(),
            others + 1,
            snapshots.display()
        ))),
    }
}

/// The folder of a model that is given as a folder, by name, or by its name on the hub.
///
/// # Errors
/// [`Error::Missing`] if the model is not there, with what to do.
pub fn model(model: &str, random_init: bool) -> Result<PathBuf> {
    let alias = model.strip_prefix(PUBLISHER).filter(|_| !Path::new(model).is_dir());
    let model = alias.map_or(model, |name| name.trim_end_matches('/'));
    let given = snapshot(PathBuf::from(model))?;
    let is_path = given.is_dir() || model.contains(['/', '\\']);
    let folder = if is_path { given } else { snapshot(in_project("weights").join(model))? };
    let known = !is_path && Gpt2Config::named(model).is_some();
    // A published shape needs no file. Its folder may be there without one, where a fetch
    // has failed.
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_published = known || (is_in_weights(&folder) && Gpt2Config::named(name).is_some());
    let needed: &[&str] = match (random_init, is_published) {
        (true, true) => &[],
        (true, false) => &["config.json"],
        (false, _) => &["config.json", WEIGHTS],
    };
    let is_there = |file: &str| match file {
        WEIGHTS => Gpt2::has_weights(&folder),
        file => folder.join(file).is_file(),
    };
    match needed.iter().find(|file| !is_there(file)) {
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

/// Name of a model that others know too: on the hub (`OWNER/NAME`) for a published model in
/// `weights/` and a snapshot in the hub's cache, else the name of its folder.
pub fn name_of(folder: &Path) -> String {
    let name = |folder: &Path| Some(folder.file_name()?.to_string_lossy().into_owned());
    let absolute = folder.canonicalize().or_else(|_| std::path::absolute(folder));
    let absolute = absolute.unwrap_or_else(|_| folder.to_owned());
    let cached = || {
        let snapshots = absolute.parent().filter(|parent| parent.ends_with("snapshots"))?;
        Some(name(snapshots.parent()?)?.strip_prefix("models--")?.replace("--", "/"))
    };
    let local = name(folder).or_else(|| name(&absolute)).unwrap_or_default();
    match cached() {
        Some(name) => name,
        None if is_in_weights(folder) && Gpt2Config::NAMES.contains(&local.as_str()) => {
            format!("{PUBLISHER}{local}")
        }
        None => local,
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

/// Returns whether a path is standard input or a pipe, which can be read only once.
pub(crate) fn is_pipe(path: &Path) -> bool {
    path.to_str() == Some("-") || (path.exists() && !path.is_dir() && !path.is_file())
}

/// Returns the files of text: the given ones, or the SMS Spam Collection. With `is_table`
/// directories and patterns stand for the tables in them, and pipes are allowed.
///
/// # Errors
/// [`Error::Missing`] if one does not exist, with what to do.
pub fn data(given: &[PathBuf], is_table: bool) -> Result<Vec<PathBuf>> {
    let given = if is_table { dataset::expand(given)? } else { given.to_vec() };
    let is_input = |file: &&PathBuf| file.is_file() || is_table && is_pipe(file);
    if let Some(file) = given.iter().find(|file| !is_input(file)) {
        return Err(Error::Missing(format!(
            "{} is not a file; give --data (or --validation-data, --test-data) a file of text",
            file.display()
        )));
    }
    if !given.is_empty() {
        return Ok(given);
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
    fn model_has_its_name_however_its_folder_is_given() {
        let folder = std::path::absolute("../../weights/pocket").unwrap();
        for folder in [Path::new("../../weights/pocket"), &folder, &in_project("weights/pocket")] {
            assert_eq!(name_of(folder), "pocket", "{folder:?}");
        }
    }

    #[test]
    fn names_on_the_hub_are_those_of_published_models_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cached = folder.path().join("models--me--small/snapshots/abc");
        fs::create_dir_all(&cached).unwrap();
        let local = folder.path().join("gpt2");
        fs::create_dir_all(&local).unwrap();
        for (path, name) in [
            (&in_project("weights/gpt2-large"), "openai-community/gpt2-large"),
            (&in_project("weights/mine"), "mine"),
            (&cached, "me/small"),
            // It may be anything.
            (&local, "gpt2"),
        ] {
            assert_eq!(name_of(path), name, "{path:?}");
        }
    }

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
    fn published_models_have_their_names_on_the_hub_too() {
        for name in ["gpt2-large", "gpt2-xl"] {
            let hub = format!("openai-community/{name}");
            for spelling in [hub.clone(), format!("{hub}/")] {
                let error = model(&spelling, false).unwrap_err().to_string();
                assert!(error.contains(&format!("`cargo xtask fetch-weights {name}`")), "{error}");
            }
            assert_eq!(model(&hub, true).unwrap(), model(name, true).unwrap());
        }
        assert!(model("someone-else/gpt2", false).is_err());
    }

    #[test]
    fn the_hub_cache_is_looked_through() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("models--me--small");
        let find = || snapshot(cache.clone());
        assert_eq!(find().unwrap(), cache, "not a cache");
        fs::create_dir_all(cache.join("snapshots")).unwrap();
        assert!(find().unwrap_err().to_string().contains("without a snapshot"));
        fs::create_dir_all(cache.join("snapshots/abc")).unwrap();
        assert_eq!(find().unwrap(), cache.join("snapshots/abc"));
        fs::create_dir_all(cache.join("snapshots/def")).unwrap();
        assert!(find().unwrap_err().to_string().contains("2 snapshots"));
        fs::create_dir_all(cache.join("refs")).unwrap();
        fs::write(cache.join("refs/main"), "def\n").unwrap();
        assert_eq!(find().unwrap(), cache.join("snapshots/def"));
        fs::write(cache.join("refs/main"), "gone").unwrap();
        assert!(find().unwrap_err().to_string().contains("2 snapshots"));
    }
}
