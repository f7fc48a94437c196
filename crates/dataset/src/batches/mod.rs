//! Batches of tokenized examples.

mod batch;
mod data_loader;
pub(crate) mod error;
mod length_sorted;

pub use batch::{Batch, Padding};
pub use data_loader::{Batches, DataLoader};
pub use error::BatchError;
pub use length_sorted::length_sorted_batches;
