//! The binaries, used as a user uses them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod any_text;
mod folders;
mod golden;
#[cfg(unix)]
mod hostile;
mod misuse;
mod options;
mod pocket;
#[cfg(target_os = "linux")]
mod power_cut;
mod pretrain;
mod resume;
mod use_cases;
