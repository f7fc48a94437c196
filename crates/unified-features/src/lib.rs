//! Empty crate that unifies the features of shared dependencies, see its `Cargo.toml`.
