//! Tests of whole event files.

mod golden;
mod properties;
