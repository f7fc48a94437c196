//! Errors, each displayed as one sentence.

use std::time::Duration;

use storage::terminal_safe;
use tch::TchError;

use crate::Launcher;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of this crate.
///
/// `rank` is the process that reports the error, `ranks` are the processes that caused it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The variables of a launcher are incomplete or contradict each other.
    #[error(transparent)]
    Environment(#[from] EnvironmentProblem),
    /// An operation took longer than the timeout.
    #[error(
        "rank {rank}: {action} timed out after {} s, waiting for {}",
        limit.as_secs_f32(), named(ranks)
    )]
    TimedOut {
        /// The rank that waited.
        rank: usize,
        /// The operation.
        action: &'static str,
        /// The ranks that did not answer; empty if all did, but not in time.
        ranks: Vec<usize>,
        /// The timeout.
        limit: Duration,
    },
    /// The connection to a rank was lost.
    #[error(
        "rank {rank}: {action} failed, the connection to {} was lost: {}",
        named(ranks),
        terminal_safe(reason)
    )]
    Lost {
        /// The rank that lost the connection.
        rank: usize,
        /// The operation.
        action: &'static str,
        /// The ranks that do not answer anymore; empty if all do.
        ranks: Vec<usize>,
        /// The message of c10d.
        reason: String,
    },
    /// The ranks disagree about something that must be equal.
    #[error("{what}: {} from the other ranks", differing(ranks))]
    Differs {
        /// Name of the value that must be equal.
        what: String,
        /// The ranks in the minority, or other than rank 0 if there is no majority.
        ranks: Vec<usize>,
    },
    /// Other ranks cannot take part.
    #[error("{} cannot take part, for the reason that {} printed", named(ranks), printer(ranks))]
    Failed {
        /// The ranks.
        ranks: Vec<usize>,
    },
    /// Another process has the rank of this one, as after a restart of one of several processes.
    #[error("rank {rank}: join is not possible: another process has rank {rank} at {address}")]
    RankTaken {
        /// The rank.
        rank: usize,
        /// Host and port of the store.
        address: String,
    },
    /// An operation cannot be done.
    #[error("rank {rank}: {action} is not possible: {}", terminal_safe(reason))]
    Refused {
        /// The rank.
        rank: usize,
        /// The operation.
        action: &'static str,
        /// The reason.
        reason: String,
    },
    /// The micro-batches of a step cannot be shared so that every rank has some.
    #[error(
        "{micro_batches} micro-batch{} per step cannot be shared by {world} processes, expected {}",
        if *micro_batches == 1 { "" } else { "es" },
        processes(possible)
    )]
    Uneven {
        /// Micro-batches of a step.
        micro_batches: usize,
        /// Number of processes.
        world: usize,
        /// The numbers of processes that can share them.
        possible: Vec<usize>,
    },
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

/// Longest list of ranks in a message.
const MOST: usize = 8;

/// Lists ranks: `rank 1`, `ranks 1, 2`.
pub(crate) fn named(ranks: &[usize]) -> String {
    match ranks {
        [] => "another rank".to_owned(),
        [rank] => format!("rank {rank}"),
        _ => format!("ranks {}", listed(ranks)),
    }
}

fn printer(ranks: &[usize]) -> &'static str {
    if ranks.len() == 1 { "it" } else { "they" }
}

fn differing(ranks: &[usize]) -> String {
    format!("{} {}", named(ranks), if ranks.len() == 1 { "differs" } else { "differ" })
}

fn processes(counts: &[usize]) -> String {
    match counts {
        [1] => "1 process".to_owned(),
        [before @ .., last] if !before.is_empty() => {
            format!("{} or {last} processes", listed(before))
        }
        _ => format!("{} processes", listed(counts)),
    }
}

/// Joins the first numbers and counts the rest.
fn listed(numbers: &[usize]) -> String {
    let shown: Vec<String> = numbers.iter().take(MOST).map(ToString::to_string).collect();
    let shown = shown.join(", ");
    match numbers.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
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
