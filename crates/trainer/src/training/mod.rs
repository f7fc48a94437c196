//! The training loop and its parts.

pub(crate) mod adamw;
pub(crate) mod checkpoint;
pub(crate) mod early_stopping;
pub(crate) mod event;
pub(crate) mod fit;
pub(crate) mod loss_scale;
pub(crate) mod observer;
pub(crate) mod pending_losses;
pub(crate) mod schedule;
pub(crate) mod state_file;
pub(crate) mod step;
