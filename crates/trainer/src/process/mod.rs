//! Settings of the whole process.

pub(crate) mod memory;
pub(crate) mod program;
pub(crate) mod settings;
