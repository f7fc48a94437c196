//! What is learned: batches, loss and evaluation.

pub(crate) mod class_weights;
pub(crate) mod evaluator;
pub(crate) mod loaders;
