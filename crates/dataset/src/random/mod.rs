//! Random numbers and permutations of PyTorch and NumPy.

pub(crate) mod error;
mod mt19937;
mod permutation;

pub use error::StateError;
pub use mt19937::{TorchRng, TorchRngState};
pub use permutation::{numpy_permutation, randperm};
