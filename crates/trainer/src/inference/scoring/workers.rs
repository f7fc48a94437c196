//! Processes that score a table together.

use std::{path::Path, time::Duration};

use distributed::{Group, Place};

use super::{array_task::ArrayTask, error::ScoringError, manifest::Manifest};
use crate::error::{Error, Result};

/// Place of this process among the processes that score a table.
#[derive(Clone, Debug)]
pub enum Workers {
    /// Processes that a launcher started, or a single process. They take parts in turn.
    Group(Group),
    /// Process that was restarted while the others of its group work without it.
    Restarted {
        /// Its rank.
        rank: usize,
        /// Number of processes.
        world: usize,
        /// Its rank among the processes on the same machine.
        local_rank: usize,
    },
    /// Task of an array job, whose parts are fixed.
    Task(ArrayTask),
}

impl Workers {
    /// Reads the place from the environment and waits for the other processes of a launcher, at
    /// most for the timeout. A launcher has precedence over an array job.
    ///
    /// # Errors
    /// [`Error::Distributed`], [`ScoringError`].
    pub fn join(timeout: Duration) -> Result<Self> {
        let Some(place) = Place::of_environment()? else {
            let task = ArrayTask::of_environment().map_err(ScoringError::from)?;
            return Ok(task.map_or_else(|| Self::Group(Group::alone()), Self::Task));
        };
        let (rank, world, local_rank) = (place.rank, place.world, place.local_rank);
        match Group::join(place, timeout) {
            Err(distributed::Error::RankTaken { .. }) => {
                Ok(Self::Restarted { rank, world, local_rank })
            }
            joined => Ok(Self::Group(joined.map_err(lost)?)),
        }
    }

    /// Returns the rank among the processes on the same machine, from 0.
    pub fn local_rank(&self) -> usize {
        match self {
            Self::Group(group) => group.local_rank(),
            Self::Restarted { local_rank, .. } => *local_rank,
            Self::Task(_) => 0,
        }
    }

    /// Checks that all processes would write the same parts. Returns a note if a process was lost,
    /// which does not stop the others: each of them compares the manifest in the directory too.
    pub(super) fn agree(&self, manifest: &Manifest) -> Result<Option<String>> {
        let Self::Group(group) = self else { return Ok(None) };
        if group.world() == 1 {
            return Ok(None);
        }
        for (what, value) in manifest.facts()? {
            match group.agree(what, value.as_bytes()) {
                Ok(()) => {}
                Err(
                    problem @ (distributed::Error::Lost { .. }
                    | distributed::Error::TimedOut { .. }),
                ) => return Ok(Some(format!("scoring continues without a process: {problem}"))),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

/// Adds the remedy to the error of a lost process, which in training is another one.
fn lost(error: distributed::Error) -> Error {
    match error {
        distributed::Error::Lost { .. } => ScoringError::Lost { reason: error.to_string() }.into(),
        error => error.into(),
    }
}

/// Refuses an output file or stream if a launcher has started several processes.
///
/// # Errors
/// [`ScoringError::OneOutput`].
pub fn check_one_process(output: &Path) -> Result<()> {
    match Place::of_environment() {
        Ok(Some(Place { world: processes, .. })) => {
            Err(ScoringError::OneOutput { output: output.to_owned(), processes }.into())
        }
        // A single process does not use the variables, so their problems do not matter.
        Ok(None) | Err(_) => Ok(()),
    }
}
