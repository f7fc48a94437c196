//! Integration tests of the public API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod hostile;
mod model;
mod pocket;
mod save;
mod variations;
mod weight_files;
