//! Place of a process among the processes of a run, and sums that do not depend on their number.

mod error;
mod place;
mod tree;

pub use error::{EnvironmentProblem, Error, Result};
pub use place::{Launcher, Place};
pub use tree::TreeSum;
