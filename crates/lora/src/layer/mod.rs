//! LoRA layer: low-rank product, dropout, DoRA magnitudes and PiSSA.

pub(crate) mod dropout;
pub(crate) mod initialization;
pub(crate) mod linear;
pub(crate) mod magnitude;
pub(crate) mod pissa;
pub(crate) mod slice;
