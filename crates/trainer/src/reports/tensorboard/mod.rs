//! TensorBoard event files.
//!
//! ```
//! use trainer::{Event, reports::tensorboard::{EventWriter, now}};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let mut writer = EventWriter::create(folder)?;
//! writer.write_event(&Event::Eval { step: 0, train_loss: 0.7, validation_loss: 0.8 })?;
//! writer.scalar("learning_rate", 1, 5e-5, now())?;
//! writer.flush()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `tensorboard --logdir runs` then plots every run in a folder below `runs`. The
//! horizontal axis is the number of optimizer steps before a value was measured: the loss
//! of a batch is measured before its step, everything else after it.
//!
//! | Event | Tags |
//! |---|---|
//! | [`Initial`](crate::Event::Initial) | `accuracy/train`, `accuracy/validation`, `accuracy/test` |
//! | [`Step`](crate::Event::Step) | `loss/train_batch`, `learning_rate`, `gradient_norm` |
//! | [`Eval`](crate::Event::Eval) | `loss/train`, `loss/validation` |
//! | [`Epoch`](crate::Event::Epoch) | `accuracy/train`, `accuracy/validation` |
//! | [`Validation`](crate::Event::Validation) | `whole_validation/loss`, `whole_validation/accuracy` |
//! | [`Final`](crate::Event::Final) | `final_accuracy/train`, `final_accuracy/validation`, `final_accuracy/test`: on whole splits, and so not a continuation of the others |

#[cfg(test)]
mod event_reader;
mod proto;
mod record;
#[cfg(test)]
mod tests;
mod writer;

pub use writer::{EventWriter, now};
