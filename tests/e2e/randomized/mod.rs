//! Randomized tests. They use the seed 1, or one seed after the other in `cargo xtask soak`.

mod damaged_files;
#[cfg(target_os = "linux")]
mod file_operations;
mod kills;
mod options;
