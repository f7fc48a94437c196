//! Integration and golden tests of the public API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod completions;
mod cuda;
mod exchange;
mod golden;
mod gpt2_small;
mod language_model_exchange;
mod packed;
mod steps;
