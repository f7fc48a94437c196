//! Panics of libraries that read untrusted files.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use polars::prelude::{PolarsError, PolarsResult};

thread_local! {
    static CATCHES_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// Returns true while this thread calls a library whose panics become errors, and which a panic
/// hook should not print.
pub fn catches_panics() -> bool {
    CATCHES_PANICS.get()
}

/// Returns the result of a call, or `None` if it panics.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    let outer = CATCHES_PANICS.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    CATCHES_PANICS.set(outer);
    result.ok()
}

/// Calls polars, which trusts some numbers of a damaged file and panics where they are
/// impossible. A panic becomes an error.
pub(crate) fn guarded<T>(call: impl FnOnce() -> PolarsResult<T>) -> PolarsResult<T> {
    let impossible = "its contents are impossible";
    caught(call).unwrap_or_else(|| Err(PolarsError::ComputeError(impossible.into())))
}
