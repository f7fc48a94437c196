//! Random numbers and permutations of PyTorch and NumPy.

mod mt19937;
mod permutation;

pub use mt19937::{TorchRng, TorchRngState};
pub use permutation::{numpy_permutation, randperm};
