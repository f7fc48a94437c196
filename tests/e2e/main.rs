//! The binaries, used as a user uses them.

mod golden;
mod misuse;
mod use_cases;
