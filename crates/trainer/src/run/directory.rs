//! The directory of a run: who works in it, what it holds, and what may be written there.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::{
    config::{
        layers::{Layer, RESOLVED_FILE},
        settings::Settings,
    },
    error::{Error, Result},
    inference::{ADAPTER, EVALUATION_FILES, INITIAL_ADAPTER},
    run::lock::DirectoryLock,
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

/// The directory of a run that no other run works in. It can be looked at; only the
/// [`WritableDirectory`] that it becomes once all inputs are validated can be written.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    lock: DirectoryLock,
    checkpoint: Option<Checkpoint>,
    resumes: bool,
}

/// The directory of a run whose inputs are validated.
#[derive(Debug)]
pub(crate) struct WritableDirectory {
    path: PathBuf,
    _lock: DirectoryLock,
}

impl RunDirectory {
    /// Locks the directory and finds the checkpoint to resume from. Refuses a directory
    /// whose files are not those of a run, or would be lost.
    pub fn open(path: &Path, resumes: bool, observer: &mut dyn Observer) -> Result<Self> {
        let lock = DirectoryLock::new(path)?;
        check_ownership(path)?;
        remove_temporary_files(path)?;
        let checkpoint = find_checkpoint(path, resumes, observer)?;
        Ok(Self { path: path.to_owned(), lock, checkpoint, resumes })
    }

    /// Refuses to resume as another run than the directory's.
    pub fn check_identity(&self, identity: &checkpoint::Identity) -> Result<()> {
        match &self.checkpoint {
            Some(checkpoint) => checkpoint.check(identity),
            None if self.resumes => check_begun(&self.path, &identity.settings),
            None => Ok(()),
        }
    }

    /// The directory to write into, and the checkpoint to resume from. Only
    /// [`Inputs`](crate::run::inputs::Inputs) that are validated call this.
    pub fn into_writable(self) -> (WritableDirectory, Option<Checkpoint>) {
        (WritableDirectory { path: self.path, _lock: self.lock }, self.checkpoint)
    }
}

impl WritableDirectory {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The settings of the run that a directory belongs to, if it is one.
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

/// Removes the temporary files of a run that was killed while it wrote: `.NAME.XXXXXX`.
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

/// Refuses a directory where the results of a run would replace something else.
fn check_ownership(directory: &Path) -> Result<()> {
    if begun_as(directory)?.is_some() {
        return Ok(());
    }
    match RESULTS.iter().find(|name| directory.join(name).symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(name) => Err(Error::Config(format!(
            "{0}/{name} already exists and does not belong to a run ({0} has no valid \
             {RESOLVED_FILE}); choose another --out",
            directory.display()
        ))),
    }
}

/// Refuses to resume in a directory whose run was begun with other settings.
pub(crate) fn check_begun(directory: &Path, settings: &Layer) -> Result<()> {
    let Some(was) = begun_as(directory)? else { return Ok(()) };
    let changed = changes(&checkpoint::decisive(&was), &checkpoint::decisive(settings));
    if changed.is_empty() {
        return Ok(());
    }
    Err(Error::Config(format!(
        "the run in {} was begun with other settings ({}); resume with these, or choose another \
         --out",
        directory.display(),
        changed.join(", ")
    )))
}

/// The checkpoint to resume from. Refuses a directory whose checkpoints would be lost.
fn find_checkpoint(
    directory: &Path,
    resumes: bool,
    observer: &mut dyn Observer,
) -> Result<Option<Checkpoint>> {
    let shown = directory.display();
    if !resumes {
        if directory.join(REPORT).exists() {
            return Err(Error::Config(format!(
                "{shown} has the results of a run already (its {REPORT}); choose another --out"
            )));
        }
        return match checkpoint::list(directory)?.is_empty() {
            true => Ok(None),
            false => Err(Error::Config(format!(
                "{shown} has checkpoints of an unfinished run; resume it with --resume, or choose \
                 another --out"
            ))),
        };
    }
    let found = Checkpoint::last(directory)?;
    match &found {
        Some(checkpoint) => {
            let step = checkpoint.progress().position.step;
            observer.notice(&format!("resuming after step {step}"));
        }
        None if directory.join(REPORT).exists() => {
            return Err(Error::Config(format!(
                "the run in {shown} is finished: its {REPORT} exists; choose another --out"
            )));
        }
        None => observer.notice("no checkpoint yet; training from the start"),
    }
    Ok(found)
}

/// Refuses input files that results of the same name in `out` would replace.
///
/// # Errors
/// [`Error::Config`] names the first.
pub fn check_inputs<'a>(files: impl IntoIterator<Item = &'a Path>, out: &Path) -> Result<()> {
    // A directory that does not exist holds nothing.
    let Ok(directory) = out.canonicalize() else { return Ok(()) };
    for file in files {
        let Ok(path) = file.canonicalize() else { continue };
        let mut results = RESULTS.iter().chain(&EVALUATION_FILES);
        if results.any(|name| path == directory.join(name)) {
            return Err(Error::Config(format!(
                "{} would be replaced by a result of the same name; choose another --out than {}",
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
    fn foreign_files_are_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let check = |path: &Path| check_ownership(path);
        assert!(check(directory.path()).is_ok() && check(&directory.path().join("new")).is_ok());
        fs::write(directory.path().join("notes.txt"), "").unwrap();
        assert!(check(directory.path()).is_ok());
        for (name, text) in [("run.toml", "x = 1"), ("train.csv", "text,label"), ("adapter", "")] {
            let file = directory.path().join(name);
            fs::write(&file, text).unwrap();
            let error = check(directory.path()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("--out"), "{error}");
            fs::remove_file(file).unwrap();
        }
    }

    #[test]
    fn inputs_are_not_overwritten_by_results() {
        let directory = tempfile::tempdir().unwrap();
        let (data, inner) = (directory.path().join("train.csv"), directory.path().join("inner"));
        fs::write(&data, "text,label").unwrap();
        let error = check_inputs([data.as_path()], directory.path()).unwrap_err().to_string();
        assert!(
            error.contains("train.csv would be replaced") && error.contains("--out"),
            "{error}"
        );
        assert!(check_inputs([data.as_path()], &inner.join("..")).is_ok(), "does not exist yet");
        fs::create_dir(&inner).unwrap();
        assert!(check_inputs([data.as_path()], &inner).is_ok());
        assert!(check_inputs([data.as_path()], &inner.join("..")).is_err());
        let other = directory.path().join("data.csv");
        fs::write(&other, "").unwrap();
        assert!(check_inputs([other.as_path()], directory.path()).is_ok());
    }
}
