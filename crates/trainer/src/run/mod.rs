//! Runs: from input files to a directory of results.
//!
//! A run has four phases, each a type that only the previous one can make:
//! `RunDirectory::open` locks the directory, `Inputs::prepare` reads and validates all inputs,
//! `Session::train` trains, `Results::write` writes. Only sessions and results can write, so
//! that nothing is written before all inputs are validated. Of several processes that share a
//! run, each goes through all phases, and rank 0 writes.

pub(crate) mod agreement;
pub(crate) mod builder;
pub(crate) mod directory;
pub(crate) mod dry_run;
pub(crate) mod error;
pub(crate) mod inputs;
pub(crate) mod lock;
pub(crate) mod recorder;
pub(crate) mod results;
pub(crate) mod seeds;
pub(crate) mod session;
pub(crate) mod start;

pub use builder::Run;
pub use directory::check_inputs;
pub use dry_run::{DryRun, Estimate, dry_run};
pub use error::RunDirectoryError;
pub use inputs::device_of;
pub use lock::check_is_directory;
pub use seeds::{LanguageModelSeeds, SeedsReport, ValidationMeasures, run_seeds};
pub use start::{Control, run};
