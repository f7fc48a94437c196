//! A whole run, from the files it reads to the directory it leaves.
//!
//! A run has four phases, each a type that only the one before can make:
//! `RunDirectory::open` locks the directory, `Inputs::prepare` reads and validates
//! everything, `Session::train` trains, `Results::write` writes. Only a session and
//! what follows can write, so that nothing is written before everything was validated.

pub(crate) mod builder;
pub(crate) mod directory;
pub(crate) mod inputs;
pub(crate) mod lock;
pub(crate) mod recorder;
pub(crate) mod results;
pub(crate) mod seeds;
pub(crate) mod session;
pub(crate) mod start;

pub use builder::Run;
pub use directory::check_inputs;
pub use seeds::{SeedsReport, run_seeds};
pub use start::{Control, run};
