//! Training, validation and test set.

mod config;
mod csv;
pub(crate) mod error;
mod prepared;
mod sampling;
mod sets;

pub use config::SplitConfig;
pub use error::SplitError;
pub use prepared::{MANIFEST_FILE, PreparedSplit, labels_of_set};
pub use sets::{ClassRows, Split};
