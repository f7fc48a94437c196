//! Which parameters are trained.

pub(crate) mod adapters;
pub(crate) mod parameters;
