//! Trainable parameters: adapters, head, last block, or all.

pub(crate) mod adapters;
pub(crate) mod mixed_precision;
pub(crate) mod network;
pub(crate) mod parameters;

pub use adapters::{PEFT_PREFIX, Unmerged, adapt, merge, peft_layers, unadapt};
pub use network::Network;
pub use parameters::{Head, Train, Trainable, WeightDecayOn};
