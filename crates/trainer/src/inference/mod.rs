//! Using a trained adapter: prediction, evaluation and export.

pub(crate) mod adapter_set;
pub(crate) mod evaluation;
pub(crate) mod export;
pub(crate) mod head_bias;
pub(crate) mod predictor;
pub(crate) mod saved_adapter;
pub(crate) mod table;
