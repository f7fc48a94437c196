//! Event files of TensorBoard: a run that can be watched while it goes on.
//!
//! ```
//! use trainer::{Event, tensorboard::EventWriter};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let mut writer = EventWriter::create(folder)?;
//! writer.write_event(&Event::Step { step: 0, epoch: 1, loss: 0.7, rows: vec![] })?;
//! writer.scalar("learning rate", 1, 5e-5, trainer::tensorboard::now())?;
//! writer.flush()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `tensorboard --logdir runs` then draws every run in a folder below `runs`. The
//! horizontal axis is the number of optimizer steps that had been taken when a value
//! was measured: the loss of a batch is that before its step, everything else that
//! after it.
//!
//! | Event | Tags |
//! |---|---|
//! | [`Initial`](crate::Event::Initial) | `accuracy/train`, `accuracy/validation`, `accuracy/test` |
//! | [`Step`](crate::Event::Step) | `loss/train_batch` |
//! | [`Eval`](crate::Event::Eval) | `loss/train`, `loss/validation` |
//! | [`Epoch`](crate::Event::Epoch) | `accuracy/train`, `accuracy/validation` |
//! | [`Final`](crate::Event::Final) | `final_accuracy/train`, `final_accuracy/validation`, `final_accuracy/test`: on whole parts, and so no continuation of the others |

#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
mod proto;
#[cfg(test)]
mod reader;
mod record;
mod writer;

pub use writer::{EventWriter, now};
