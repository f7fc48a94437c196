//! Text classification: the label of a text from the hidden state of one token.

pub(crate) mod batches;
pub(crate) mod class_weights;
pub(crate) mod data;
pub(crate) mod data_notes;
pub(crate) mod evaluator;
pub(crate) mod examples;
pub(crate) mod objective;
pub(crate) mod task;
