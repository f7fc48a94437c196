//! Settings of a run: options, files of options, defaults, and where things are.

pub(crate) mod args;
pub(crate) mod file;
pub(crate) mod model_defaults;
pub(crate) mod pairs;
pub mod paths;
pub(crate) mod repeat;
pub(crate) mod resolve;
pub(crate) mod settings;
