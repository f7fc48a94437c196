//! Place of a process among the processes of a run, from the variables of its launcher.

mod error;
mod place;

pub use error::{EnvironmentProblem, Error, Result};
pub use place::{Launcher, Place};
