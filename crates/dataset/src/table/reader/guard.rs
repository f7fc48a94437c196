//! Panics of the library that decodes Parquet.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use polars::prelude::{PolarsError, PolarsResult};

thread_local! {
    static CATCHES_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// Returns true while this thread decodes or converts a table with polars: a panic then
/// becomes an error, and a panic hook should not print it.
pub fn catches_panics() -> bool {
    CATCHES_PANICS.get()
}

/// Calls polars, which trusts some numbers of a damaged file and panics where they are
/// impossible. A panic becomes an error.
pub(crate) fn guarded<T>(call: impl FnOnce() -> PolarsResult<T>) -> PolarsResult<T> {
    let outer = CATCHES_PANICS.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    CATCHES_PANICS.set(outer);
    let impossible = "its contents are impossible";
    result.unwrap_or_else(|_| Err(PolarsError::ComputeError(impossible.into())))
}
