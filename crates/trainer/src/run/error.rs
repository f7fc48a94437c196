//! Errors of the directory of a run.

use std::path::PathBuf;

/// A directory that a run cannot be written into or resumed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunDirectoryError {
    /// A file in the place of the directory.
    #[error("{}: expected a directory, got a file; choose another --out", path.display())]
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// Another process works in the directory.
    #[error("{}: another run is at work here; wait until it ends, or choose another --out", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file that was not written by a run.
    #[error("{}/{name}: already exists and was not written by a run, because there is no valid run.toml beside it; choose another --out", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Name of the file.
        name: &'static str,
    },
    /// Results of a finished run.
    #[error("{}: contains the results of a run (report.json); choose another --out", path.display())]
    HasResults {
        /// The directory.
        path: PathBuf,
    },
    /// Checkpoints of an unfinished run.
    #[error("{}: contains checkpoints of an unfinished run; resume it with --resume, or choose another --out", path.display())]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// A finished run that is to be resumed.
    #[error("{}: cannot resume, because the run is finished (report.json exists); choose another --out", path.display())]
    Finished {
        /// The directory.
        path: PathBuf,
    },
    /// A run with other settings that is to be resumed.
    #[error("{}: the run was started with other settings ({}); resume with these, or choose another --out", path.display(), storage::terminal_safe(&changed.join(", ")))]
    OtherSettings {
        /// The directory.
        path: PathBuf,
        /// The settings that differ, as they were.
        changed: Vec<String>,
    },
    /// An input that a result of the same name would replace.
    #[error("{}: would be replaced by a result of the same name; choose another --out than {}", file.display(), out.display())]
    ReplacesInput {
        /// The input.
        file: PathBuf,
        /// The directory.
        out: PathBuf,
    },
    /// All numbers of `runs/MODEL-N` are taken.
    #[error("{}: no free name for a run is left; give --out a directory", runs.display())]
    NoFreeName {
        /// The directory of runs.
        runs: PathBuf,
    },
    /// A `seeds.json` that was not written by a run with several seeds.
    #[error("{}: not a report of several seeds; choose another --out", path.display())]
    ForeignSeedsReport {
        /// The file.
        path: PathBuf,
    },
    /// A damaged `report.json` of a finished seed.
    #[error("{}: cannot read the report: {}; delete the file to repeat the run", path.display(), storage::terminal_safe(reason))]
    DamagedReport {
        /// The file.
        path: PathBuf,
        /// The message of the parser.
        reason: String,
    },
    /// A finished seed whose data or base model has changed since.
    #[error("{}: the run used another {input}; restore its files, or choose another --out", path.display())]
    OtherInput {
        /// The directory.
        path: PathBuf,
        /// Dataset or base model.
        input: &'static str,
    },
    /// A report without the settings of its run.
    #[error("{}: contains report.json but no valid run.toml; choose another --out", path.display())]
    NoSettings {
        /// The directory.
        path: PathBuf,
    },
}
