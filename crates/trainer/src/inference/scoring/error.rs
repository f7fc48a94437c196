//! Errors of scoring.

use std::path::PathBuf;

use storage::terminal_safe;

use super::MANIFEST_FILE;

/// Scoring that cannot begin or continue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScoringError {
    /// Several processes with one output file.
    #[error(
        "{}: {processes} processes cannot write one output; give --output a directory, with a / at \
         the end of its name, or start one process",
        output.display()
    )]
    OneOutput {
        /// File or stream.
        output: PathBuf,
        /// Number of processes.
        processes: usize,
    },
    /// An output directory with a file that is not of this scoring.
    #[error(
        "{}: expected an empty directory or parts of this table, got the file {}; give --output \
         another directory",
        directory.display(),
        terminal_safe(name)
    )]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// Name of the file.
        name: String,
    },
    /// A manifest that this program did not write.
    #[error(
        "{}: invalid manifest: {}; give --output another directory",
        path.display(),
        terminal_safe(reason)
    )]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
    /// A directory with parts of another adapter, input or options.
    #[error(
        "{}: {}: expected {} as in {MANIFEST_FILE}, got {}; continue with the same command and \
         files, or give --output another directory",
        directory.display(),
        terminal_safe(what),
        terminal_safe(expected),
        terminal_safe(given)
    )]
    Changed {
        /// The directory.
        directory: PathBuf,
        /// Name of the value.
        what: String,
        /// Value in the manifest.
        expected: String,
        /// Value of this process.
        given: String,
    },
    /// A process that was lost before scoring began.
    #[error("{reason}; run the command again, complete parts are kept")]
    Lost {
        /// Message of the process group.
        reason: String,
    },
    /// A task of an array job without a part.
    #[error(
        "task {task} of the array job has none of the {parts} parts; submit at most {parts} tasks, or \
         unset {variable} if each task has its own input"
    )]
    NoPart {
        /// Number of the task, from 1.
        task: usize,
        /// Number of parts.
        parts: usize,
        /// Variable that numbers the tasks.
        variable: &'static str,
    },
    /// The variables of an array job are incomplete.
    #[error(transparent)]
    ArrayTask(#[from] ArrayTaskError),
}

/// Variables of a task of an array job that do not give its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayTaskError {
    /// A variable is not a number.
    #[error("{variable}: expected a whole number, got \"{}\"", terminal_safe(value))]
    Invalid {
        /// The variable.
        variable: &'static str,
        /// The value.
        value: String,
    },
    /// The number of tasks is not given.
    #[error(
        "{present} is set, but {missing} is not; set {missing} to the number of tasks (Kubernetes: \
         env of the pod, the value of spec.completions), or unset {present}"
    )]
    NoCount {
        /// The variable with the number of the task.
        present: &'static str,
        /// The variable with the number of tasks.
        missing: &'static str,
    },
    /// The tasks are not numbered consecutively.
    #[error(
        "{variable}: expected one of {count} tasks from {first} in steps of {step}, got {id}; submit \
         the whole array, complete parts are skipped"
    )]
    NotConsecutive {
        /// The variable with the number of the task.
        variable: &'static str,
        /// Number of tasks.
        count: usize,
        /// Number of the first task.
        first: usize,
        /// Difference of the numbers of two tasks.
        step: usize,
        /// Number of this task.
        id: usize,
    },
}
