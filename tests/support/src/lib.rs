//! Helpers for the tests of this workspace: fixtures, running the built binaries,
//! corrupted files, a misbehaving server, and simulated power cuts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "only tests use it")]

mod corruption;
pub mod messages;
mod paths;
#[cfg(target_os = "linux")]
pub mod power_cut;
mod process;
mod random;
#[cfg(unix)]
mod ranks;
mod results;
mod server;
#[cfg(target_os = "linux")]
mod terminal;
mod training;
#[cfg(unix)]
mod world;

pub use corruption::{corrupted, damaged};
pub use paths::{book_reference, fixture, pocket, workspace};
pub use process::{
    Finished, binary, cargo, run, run_and_signal, run_limited, run_on_threads, run_with_input,
    start_and_signal,
};
pub use random::{Random, counted, seed};
#[cfg(unix)]
pub use ranks::{EndedRank, Port, Ranks};
pub use results::{assert_same_results, read_json, read_jsonl, read_tensors, read_toml, results};
pub use server::{Reply, Request, Server};
#[cfg(target_os = "linux")]
pub use terminal::OnTerminal;
pub use training::{train, train_on, training};
#[cfg(unix)]
pub use world::{Refusal, World, one_sentence, table};
