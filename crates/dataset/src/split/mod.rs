//! Training, validation and test set.

mod config;
mod csv;
mod prepared;
mod sampling;
mod sets;

pub use config::SplitConfig;
pub use prepared::{MANIFEST_FILE, PreparedSplit, labels_of_set};
pub use sets::{ClassRows, Split};
