//! The GPT-2 body: its layers, their arithmetic, and conversions of a whole model.

pub(crate) mod arithmetic;
pub(crate) mod attention;
pub(crate) mod block;
mod conversion;
pub(crate) mod gpt2;
mod gradient_checkpointing;
pub(crate) mod initialization;
pub(crate) mod kv_cache;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod module_tree;
pub(crate) mod packed;
pub(crate) mod product;
