//! Model folders in the Hugging Face layout: weights, labels and digests.

mod digest;
pub(crate) mod labels;
pub(crate) mod read;
mod save;
