//! Tests of whole pages.

mod classifier;
mod language_model;
mod markup_check;
