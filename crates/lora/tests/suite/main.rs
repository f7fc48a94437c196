//! The crate seen from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod adapters;
mod files;
mod golden;
mod model;
mod peft;
mod variants;
