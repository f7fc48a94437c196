//! Tests of all metrics together.

mod golden;
mod properties;
