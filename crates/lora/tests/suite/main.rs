//! Integration and golden tests of the public API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod adapters;
mod dropout;
mod files;
mod fixtures;
mod golden;
mod model;
mod peft_damaged;
mod peft_read;
mod peft_written;
mod variants;
