//! Integration tests of the public API, with several processes on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod alone;
#[cfg(gloo)]
mod collectives;
#[cfg(gloo)]
mod cuda;
mod environment;
#[cfg(gloo)]
mod failures;
#[cfg(gloo)]
mod joining;
#[cfg(gloo)]
mod rank;
#[cfg(gloo)]
mod ranks;
#[cfg(not(gloo))]
mod without_gloo;
