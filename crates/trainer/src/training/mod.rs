//! Training loop, optimizer, learning-rate schedule, checkpoints and events.

pub(crate) mod adamw;
pub(crate) mod checkpoint;
pub(crate) mod checkpoint_error;
pub(crate) mod early_stopping;
pub(crate) mod event;
pub(crate) mod fit;
pub(crate) mod gradient_sum;
pub(crate) mod loss_scale;
pub(crate) mod observer;
pub(crate) mod pending_losses;
pub(crate) mod scalar;
pub(crate) mod schedule;
pub(crate) mod state_file;
pub(crate) mod step;

pub use adamw::{AdamW, AdamWConfig, ParameterGroup};
pub use checkpoint::{LastCheckpoint, last_checkpoint};
pub use checkpoint_error::CheckpointError;
pub use early_stopping::{Best, Keep};
pub use event::Event;
pub use fit::{Fit, Fitted, fit};
pub use gradient_sum::Reduce;
pub use observer::{Observer, TrainingStart};
pub use schedule::{Decay, Schedule};
pub use step::{StepConfig, Stepper};
