//! A whole run, from the files it reads to the directory it leaves.

pub(crate) mod directory;
pub(crate) mod examples;
pub(crate) mod files;
pub(crate) mod lock;
pub(crate) mod phases;
pub(crate) mod recorder;
pub(crate) mod seeds;
