//! Directory of a run: its lock, its contents, and the right to write into it.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use distributed::Group;

use crate::{
    config::{
        layers::{Layer, RESOLVED_FILE},
        settings::Settings,
    },
    error::Result,
    inference::{ADAPTER, EVALUATION_FILES, INITIAL_ADAPTER},
    run::{
        error::RunDirectoryError,
        lock::{DirectoryLock, check_is_directory},
    },
    training::{
        checkpoint::{self, Checkpoint},
        observer::Observer,
        state_file::changes,
    },
};

/// Name of the report, which is written last.
pub(crate) const REPORT: &str = "report.json";
/// Name of the events.
pub(crate) const METRICS: &str = "metrics.jsonl";
/// Name of the directory with the trained model, of runs that train base weights.
pub(crate) const MODEL: &str = "model";

/// Names of the results of a run.
const RESULTS: [&str; 17] = [
    RESOLVED_FILE,
    "split.json",
    "train.csv",
    "validation.csv",
    "test.csv",
    METRICS,
    INITIAL_ADAPTER,
    ADAPTER,
    MODEL,
    checkpoint::DIRECTORY,
    "predictions.jsonl",
    "loss.svg",
    "loss.png",
    "accuracy.svg",
    "accuracy.png",
    REPORT,
    "seeds.json",
];

/// Locked directory of a run, for reading. It becomes a [`WritableDirectory`] once all inputs
/// are validated.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    /// None of a directory that is only inspected, or that another process writes.
    lock: Option<DirectoryLock>,
    checkpoint: Option<Checkpoint>,
    resumes: bool,
}

/// Locked directory of a run whose inputs are validated.
#[derive(Debug)]
pub(crate) struct WritableDirectory {
    path: PathBuf,
    /// None if another process writes it.
    lock: Option<DirectoryLock>,
}

impl RunDirectory {
    /// Locks the directory and finds the checkpoint to resume from. Refuses a directory with
    /// files that were not written by a run, or that would be lost.
    pub fn open(path: &Path, resumes: bool, observer: &mut dyn Observer) -> Result<Self> {
        let lock = DirectoryLock::new(path)?;
        check_ownership(path)?;
        remove_temporary_files(path)?;
        let checkpoint = find_checkpoint(path, resumes, observer)?;
        Ok(Self { path: path.to_owned(), lock: Some(lock), checkpoint, resumes })
    }

    /// As [`open`](Self::open) in rank 0. The other ranks receive its checkpoint, and need no access
    /// to its disk.
    pub fn open_in_group(
        path: &Path,
        resumes: bool,
        group: &Group,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let opened = group.is_main().then(|| Self::open(path, resumes, observer)).transpose();
        let opened = group.all_succeed(opened)?;
        let bytes = match &opened {
            Some(Self { checkpoint: Some(checkpoint), .. }) if group.world() > 1 => {
                checkpoint.read()?
            }
            _ => Vec::new(),
        };
        let bytes = group.broadcast_bytes(bytes)?;
        if let Some(opened) = opened {
            return Ok(opened);
        }
        let checkpoint = Checkpoint::received(path, &bytes)?;
        Ok(Self { path: path.to_owned(), lock: None, checkpoint, resumes })
    }

    /// Refuses a directory that a new run cannot be written into, without creating, locking
    /// or changing it.
    pub fn inspect(path: &Path, observer: &mut dyn Observer) -> Result<Self> {
        check_is_directory(path)?;
        check_ownership(path)?;
        let checkpoint = find_checkpoint(path, false, observer)?;
        Ok(Self { path: path.to_owned(), lock: None, checkpoint, resumes: false })
    }

    /// Refuses to resume a run with other settings or inputs.
    pub fn check_identity(&self, identity: &checkpoint::Identity) -> Result<()> {
        match &self.checkpoint {
            _ if self.lock.is_none() => Ok(()),
            Some(checkpoint) => checkpoint.check(identity),
            None if self.resumes => check_begun(&self.path, &identity.settings),
            None => Ok(()),
        }
    }

    /// The directory to write into, and the checkpoint to resume from. Called only with
    /// validated [`Inputs`](crate::run::inputs::Inputs).
    pub fn into_writable(self) -> (WritableDirectory, Option<Checkpoint>) {
        (WritableDirectory { path: self.path, lock: self.lock }, self.checkpoint)
    }
}

impl WritableDirectory {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path, if this process writes the directory.
    pub fn output(&self) -> Option<&Path> {
        self.lock.as_ref().map(|_| self.path.as_path())
    }
}

/// Settings of the run in a directory, if there is one.
pub(crate) fn begun_as(directory: &Path) -> Result<Option<Layer>> {
    let path = directory.join(RESOLVED_FILE);
    match storage::read_limited(&path) {
        Ok(_) => Ok(Settings::read_layer(&path).ok()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::FileTooLarge) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the temporary files of a run that was killed while it wrote: `.NAME.XXXXXX`. On Linux they
/// exist on file systems without unnamed files, and for a moment before they get their names.
fn remove_temporary_files(directory: &Path) -> Result<()> {
    let is_temporary = |name: &str, is_outer: bool| {
        let name = name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.'));
        name.is_some_and(|(name, letters)| {
            letters.len() == 6
                && letters.bytes().all(|letter| letter.is_ascii_alphanumeric())
                && (!is_outer || RESULTS.contains(&name))
        })
    };
    let inner = [INITIAL_ADAPTER, ADAPTER, MODEL, checkpoint::DIRECTORY];
    let inner = inner.iter().map(|name| (directory.join(name), false));
    for (folder, is_outer) in inner.chain([(directory.to_owned(), true)]) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if is_temporary(&entry.file_name().to_string_lossy(), is_outer) {
                let path = entry.path();
                fs::remove_file(&path).map_err(storage::Error::write(path))?;
            }
        }
    }
    Ok(())
}

/// Refuses a directory in which the results of a run would replace other files.
fn check_ownership(directory: &Path) -> Result<()> {
    if begun_as(directory)?.is_some() {
        return Ok(());
    }
    match RESULTS.into_iter().find(|name| directory.join(name).symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(name) => Err(RunDirectoryError::Foreign { path: directory.to_owned(), name }.into()),
    }
}

/// Refuses to resume a run that was started with other settings.
pub(crate) fn check_begun(directory: &Path, settings: &Layer) -> Result<()> {
    let Some(previous) = begun_as(directory)? else { return Ok(()) };
    let changed = changes(&checkpoint::decisive(&previous), &checkpoint::decisive(settings));
    if changed.is_empty() {
        return Ok(());
    }
    Err(RunDirectoryError::OtherSettings { path: directory.to_owned(), changed }.into())
}

/// Finds the checkpoint to resume from. Refuses a directory whose results or checkpoints would
/// be lost.
fn find_checkpoint(
    directory: &Path,
    resumes: bool,
    observer: &mut dyn Observer,
) -> Result<Option<Checkpoint>> {
    let path = directory.to_owned();
    if !resumes {
        if directory.join(REPORT).exists() {
            return Err(RunDirectoryError::HasResults { path }.into());
        }
        if !checkpoint::list(directory)?.is_empty() {
            return Err(RunDirectoryError::Unfinished { path }.into());
        }
        return Ok(None);
    }
    let found = Checkpoint::last(directory)?;
    match &found {
        Some(checkpoint) => {
            let step = checkpoint.progress().position.step;
            observer.notice(&format!("resuming after step {step}"));
        }
        None if directory.join(REPORT).exists() => {
            return Err(RunDirectoryError::Finished { path }.into());
        }
        None => observer.notice("no checkpoint yet; training from the start"),
    }
    Ok(found)
}

/// Refuses input files that results of the same name in `out` would replace.
///
/// # Errors
/// [`RunDirectoryError::ReplacesInput`] names the first.
pub fn check_inputs<'a>(files: impl IntoIterator<Item = &'a Path>, out: &Path) -> Result<()> {
    // A directory that does not exist is empty.
    let Ok(directory) = out.canonicalize() else { return Ok(()) };
    for file in files {
        let Ok(path) = file.canonicalize() else { continue };
        let mut results = RESULTS.iter().chain(&EVALUATION_FILES);
        if results.any(|name| path == directory.join(name)) {
            let (file, out) = (file.to_owned(), out.to_owned());
            return Err(RunDirectoryError::ReplacesInput { file, out }.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn foreign_files_are_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let check = |path: &Path| check_ownership(path);
        assert!(check(directory.path()).is_ok() && check(&directory.path().join("new")).is_ok());
        fs::write(directory.path().join("notes.txt"), "").unwrap();
        assert!(check(directory.path()).is_ok());
        for (name, text) in [("run.toml", "x = 1"), ("train.csv", "text,label"), ("adapter", "")] {
            let file = directory.path().join(name);
            fs::write(&file, text).unwrap();
            let error = check(directory.path()).unwrap_err();
            let expected = RunDirectoryError::Foreign { path: directory.path().to_owned(), name };
            assert!(matches!(&error, Error::RunDirectory(error) if *error == expected), "{error}");
            fs::remove_file(file).unwrap();
        }
    }

    #[test]
    fn inputs_are_not_overwritten_by_results() {
        let directory = tempfile::tempdir().unwrap();
        let (data, inner) = (directory.path().join("train.csv"), directory.path().join("inner"));
        fs::write(&data, "text,label").unwrap();
        let error = check_inputs([data.as_path()], directory.path()).unwrap_err();
        let expected = RunDirectoryError::ReplacesInput {
            file: data.clone(),
            out: directory.path().to_owned(),
        };
        assert!(matches!(&error, Error::RunDirectory(error) if *error == expected), "{error}");
        assert!(check_inputs([data.as_path()], &inner.join("..")).is_ok(), "does not exist yet");
        fs::create_dir(&inner).unwrap();
        assert!(check_inputs([data.as_path()], &inner).is_ok());
        assert!(check_inputs([data.as_path()], &inner.join("..")).is_err());
        let other = directory.path().join("data.csv");
        fs::write(&other, "").unwrap();
        assert!(check_inputs([other.as_path()], directory.path()).is_ok());
    }
}
