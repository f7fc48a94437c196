//! Paths of models, data and results.
//!
//! Names such as `gpt2` and the defaults are below the project directory: the nearest ancestor
//! of the working directory with `weights/` and `datasets/`, else the working directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gpt2_config::{directory_of, repository_of};
use gpt2_model::{Gpt2, Gpt2Config};
use tch::Device;

use crate::{
    config::error::NotFoundError, error::Result, process::release_free_memory,
    run::error::RunDirectoryError,
};

/// Project directory.
fn project() -> PathBuf {
    let working_directory = std::env::current_dir().unwrap_or_default();
    let is_project =
        |folder: &&Path| folder.join("weights").is_dir() && folder.join("datasets").is_dir();
    working_directory.ancestors().find(is_project).unwrap_or(&working_directory).to_owned()
}

/// Path below the project directory, relative if that is the working directory.
fn in_project(path: &str) -> PathBuf {
    let project = project();
    let working_directory = std::env::current_dir().unwrap_or_default();
    if project == working_directory { PathBuf::from(path) } else { project.join(path) }
}

/// Returns whether a directory is in `weights/` of the project.
fn is_in_weights(folder: &Path) -> bool {
    // Links and relative paths are other names of the same directory.
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

/// Returns the snapshot in a directory of the hub's cache (`models--OWNER--NAME`): the one of
/// the main branch, else the only one. Other directories are returned unchanged.
///
/// # Errors
/// [`NotFoundError`] if the directory has no snapshot, or several without a main branch.
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
        (None, _) => Err(NotFoundError::Snapshot { directory: folder }.into()),
        (Some(_), others) => {
            Err(NotFoundError::ManySnapshots { directory: folder, snapshots: others + 1 }.into())
        }
    }
}

/// Returns the repository of the hub that a model names, and its directory in `weights/`. A name on
/// the hub is a relative path too: it is a path if its first directory exists.
fn on_hub(model: &str) -> Option<(&str, PathBuf)> {
    let repository = model.trim_end_matches('/');
    let (owner, _) = repository.split_once('/')?;
    let directory = directory_of(repository).filter(|_| !Path::new(owner).is_dir())?;
    Some((repository, in_project("weights").join(directory)))
}

/// Returns the directory of a model, given by path, by name, or by its name on the hub.
///
/// # Errors
/// [`NotFoundError`] if the model does not exist.
pub fn model(model: &str, random_init: bool) -> Result<PathBuf> {
    let alias = model.strip_prefix(PUBLISHER).filter(|_| !Path::new(model).is_dir());
    let model = alias.map_or(model, |name| name.trim_end_matches('/'));
    let given = snapshot(PathBuf::from(model))?;
    let is_path = given.is_dir() || model.contains(['/', '\\']);
    let hub = on_hub(model);
    let folder = match &hub {
        Some((_, folder)) => folder.clone(),
        None if is_path => given,
        None => snapshot(in_project("weights").join(model))?,
    };
    let known = !is_path && Gpt2Config::named(model).is_some();
    // Published shapes are built in, and a failed fetch may leave an empty directory.
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_published = known || (is_in_weights(&folder) && Gpt2Config::named(name).is_some());
    let needed: &[&'static str] = match (random_init, is_published) {
        (true, true) => &[],
        (true, false) => &["config.json"],
        (false, _) => &["config.json", WEIGHTS],
    };
    let is_there = |file: &str| match file {
        WEIGHTS => Gpt2::has_weights(&folder),
        file => folder.join(file).is_file(),
    };
    let Some(file) = needed.iter().copied().find(|file| !is_there(file)) else {
        return Ok(folder);
    };
    let error = if known {
        NotFoundError::PublishedModel { directory: folder, file, model: model.to_owned() }
    } else if let Some((repository, directory)) = hub {
        NotFoundError::HubModel { repository: repository.to_owned(), directory, file }
    } else if folder.join(lora::CONFIG_FILE).is_file() {
        NotFoundError::Adapter { directory: folder }
    } else {
        NotFoundError::Model { directory: folder, file }
    };
    Err(error.into())
}

/// Returns a name by which others find a model too: its name on the hub (`OWNER/NAME`) for a
/// published model in `weights/`, for a fetched checkpoint and for a snapshot in the hub's cache,
/// else the name of its directory.
pub fn name_of(folder: &Path) -> String {
    let name = |folder: &Path| Some(folder.file_name()?.to_string_lossy().into_owned());
    let absolute = folder.canonicalize().or_else(|_| std::path::absolute(folder));
    let absolute = absolute.unwrap_or_else(|_| folder.to_owned());
    let cached = || {
        let snapshots = absolute.parent().filter(|parent| parent.ends_with("snapshots"))?;
        Some(name(snapshots.parent()?)?.strip_prefix("models--")?.replace("--", "/"))
    };
    let local = name(folder).or_else(|| name(&absolute)).unwrap_or_default();
    match cached().or_else(|| repository_of(&absolute)) {
        Some(name) => name,
        None if is_in_weights(folder) && Gpt2Config::NAMES.contains(&local.as_str()) => {
            format!("{PUBLISHER}{local}")
        }
        None => local,
    }
}

/// Loads the body of a model from its directory, or with a seed initializes it randomly.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) names the file at fault.
pub fn load(folder: &Path, seed: Option<u64>, device: Device) -> Result<Gpt2> {
    let model = match seed {
        Some(seed) => initialize(folder, seed, device)?,
        None => Gpt2::load(folder, device)?,
    };
    release_free_memory();
    Ok(model)
}

/// Initializes a model of the shape in a folder, or of a published model of its name, randomly.
fn initialize(folder: &Path, seed: u64, device: Device) -> Result<Gpt2> {
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

/// Returns the data files: the given ones, or the SMS Spam Collection. With `is_table`,
/// directories and patterns are expanded to the tables in them, and pipes are allowed.
///
/// # Errors
/// [`NotFoundError`] if a file does not exist.
pub fn data(given: &[PathBuf], is_table: bool) -> Result<Vec<PathBuf>> {
    let given = if is_table { dataset::expand(given)? } else { given.to_vec() };
    let is_input = |file: &&PathBuf| file.is_file() || is_table && is_pipe(file);
    if let Some(file) = given.iter().find(|file| !is_input(file)) {
        let path = file.clone();
        let error = if path.exists() || is_pipe(&path) {
            NotFoundError::DataNotAFile { path }
        } else {
            NotFoundError::Data { path }
        };
        return Err(error.into());
    }
    if !given.is_empty() {
        return Ok(given);
    }
    let file = in_project("datasets/sms-spam/SMSSpamCollection");
    if file.is_file() {
        return Ok(vec![file]);
    }
    Err(NotFoundError::DefaultData { path: file }.into())
}

/// Returns the output directory: the given one, or the first free `runs/<model>-N`, which is
/// created.
///
/// # Errors
/// [`Error::Storage`](crate::Error::Storage) if it cannot be created.
pub fn out(given: Option<&Path>, model: &str) -> Result<PathBuf> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    storage::create_directory(&runs())?;
    for directory in numbered_runs(model) {
        // Creating the directory claims the number, also against another run.
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(storage::Error::write(directory)(error).into()),
        }
    }
    Err(RunDirectoryError::NoFreeName { runs: runs() }.into())
}

/// Returns the output directory that [`out`] would create at present.
pub(crate) fn planned_out(model: &str) -> Result<PathBuf> {
    numbered_runs(model)
        .find(|directory| directory.symlink_metadata().is_err())
        .ok_or_else(|| RunDirectoryError::NoFreeName { runs: runs() }.into())
}

fn runs() -> PathBuf {
    in_project("runs")
}

/// `runs/<model>-1`, `runs/<model>-2`, …
fn numbered_runs(model: &str) -> impl Iterator<Item = PathBuf> {
    let name = Path::new(model).file_name().and_then(|name| name.to_str()).unwrap_or("run");
    let prefix = runs().join(name).into_os_string();
    (1u32..).map(move |number| {
        let mut directory = prefix.clone();
        directory.push(format!("-{number}"));
        directory.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn name_is_independent_of_the_spelling_of_the_path() {
        let folder = std::path::absolute("../../weights/pocket").unwrap();
        for folder in [Path::new("../../weights/pocket"), &folder, &in_project("weights/pocket")] {
            assert_eq!(name_of(folder), "pocket", "{folder:?}");
        }
    }

    #[test]
    fn names_on_the_hub_are_names_of_published_models() {
        let folder = tempfile::tempdir().unwrap();
        let cached = folder.path().join("models--me--small/snapshots/abc");
        fs::create_dir_all(&cached).unwrap();
        let fetched = folder.path().join("large");
        fs::create_dir_all(&fetched).unwrap();
        fs::write(fetched.join("fetched.json"), r#"{"repository": "me/large"}"#).unwrap();
        let local = folder.path().join("gpt2");
        fs::create_dir_all(&local).unwrap();
        for (path, name) in [
            (&in_project("weights/gpt2-large"), "openai-community/gpt2-large"),
            (&in_project("weights/mine"), "mine"),
            (&cached, "me/small"),
            (&fetched, "me/large"),
            // A directory outside weights/ may contain any model.
            (&local, "gpt2"),
        ] {
            assert_eq!(name_of(path), name, "{path:?}");
        }
    }

    #[test]
    fn missing_model_names_the_command_that_fetches_it() {
        match model("gpt2-xl", false).unwrap_err() {
            Error::NotFound(NotFoundError::PublishedModel { model, .. }) => {
                assert_eq!(model, "gpt2-xl");
            }
            error => panic!("{error}"),
        }
        for random_init in [false, true] {
            match model("some/folder", random_init).unwrap_err() {
                Error::NotFound(NotFoundError::HubModel { repository, directory, .. }) => {
                    assert_eq!(repository, "some/folder");
                    assert_eq!(directory, in_project("weights/some--folder"));
                }
                error => panic!("{error}"),
            }
        }
        // Paths: the first directory exists, or there are more than two names.
        for path in ["src/folder", "some/other/folder", "./folder", "../folder"] {
            let error = model(path, false).unwrap_err();
            assert!(matches!(error, Error::NotFound(NotFoundError::Model { .. })), "{error}");
        }
        assert!(model("gpt2-xl", true).is_ok());
        assert!(model("unknown", true).is_err());
    }

    #[test]
    fn names_on_the_hub_are_accepted() {
        for name in ["gpt2-large", "gpt2-xl"] {
            let hub = format!("openai-community/{name}");
            for spelling in [hub.clone(), format!("{hub}/")] {
                match model(&spelling, false).unwrap_err() {
                    Error::NotFound(NotFoundError::PublishedModel { model, .. }) => {
                        assert_eq!(model, name);
                    }
                    error => panic!("{error}"),
                }
            }
            assert_eq!(model(&hub, true).unwrap(), model(name, true).unwrap());
        }
        assert!(model("someone-else/gpt2", false).is_err());
    }

    #[test]
    fn snapshots_of_the_hub_cache_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("models--me--small");
        let find = || snapshot(cache.clone());
        assert_eq!(find().unwrap(), cache, "not a cache");
        fs::create_dir_all(cache.join("snapshots")).unwrap();
        let none = NotFoundError::Snapshot { directory: cache.clone() };
        assert!(matches!(find(), Err(Error::NotFound(error)) if error == none));
        fs::create_dir_all(cache.join("snapshots/abc")).unwrap();
        assert_eq!(find().unwrap(), cache.join("snapshots/abc"));
        fs::create_dir_all(cache.join("snapshots/def")).unwrap();
        let two = NotFoundError::ManySnapshots { directory: cache.clone(), snapshots: 2 };
        assert!(matches!(find(), Err(Error::NotFound(error)) if error == two));
        fs::create_dir_all(cache.join("refs")).unwrap();
        fs::write(cache.join("refs/main"), "def\n").unwrap();
        assert_eq!(find().unwrap(), cache.join("snapshots/def"));
        fs::write(cache.join("refs/main"), "gone").unwrap();
        assert!(matches!(find(), Err(Error::NotFound(error)) if error == two));
    }
}
