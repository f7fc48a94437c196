//! Errors, each displayed as one sentence.

use storage::terminal_safe;
use tch::TchError;

use crate::Launcher;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The variables of a launcher are incomplete or contradict each other.
    #[error(transparent)]
    Environment(#[from] EnvironmentProblem),
    /// libtorch refused an operation.
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] TchError),
}

/// Problem of the variables with which a launcher starts processes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentProblem {
    /// A variable has an invalid value.
    #[error("{variable}: expected {expected}, got \"{}\"", terminal_safe(value))]
    Invalid {
        /// The variable.
        variable: &'static str,
        /// The valid values.
        expected: String,
        /// The value.
        value: String,
    },
    /// One of two variables that belong together is missing.
    #[error("{present} is set, but {missing} is not")]
    Incomplete {
        /// The variable that is set.
        present: &'static str,
        /// The variable that is not.
        missing: &'static str,
    },
    /// Two launchers give a process different places.
    #[error(
        "RANK and WORLD_SIZE give rank {rank} of {world}, but {launcher} gives rank {other_rank} of \
         {other_world}"
    )]
    Contradiction {
        /// `RANK`.
        rank: usize,
        /// `WORLD_SIZE`.
        world: usize,
        /// The launcher with other values.
        launcher: Launcher,
        /// Its rank.
        other_rank: usize,
        /// Its number of processes.
        other_world: usize,
    },
    /// Processes on several machines do not know the address of rank 0.
    #[error(
        "MASTER_ADDR is not set, expected the address of rank 0's machine, because {launcher} does \
         not report that all {world} processes are on one machine"
    )]
    NoMaster {
        /// The launcher.
        launcher: Launcher,
        /// Number of processes.
        world: usize,
    },
}

/// Returns the message of a libtorch error without the C++ stack that follows it.
fn first_line(error: &TchError) -> String {
    let text = match error {
        TchError::Torch(text) => text.clone(),
        other => other.to_string(),
    };
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("no message").to_owned()
}
