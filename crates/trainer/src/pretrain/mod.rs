//! Pretraining: GPT-2 learns to tell the next token of plain text (Radford et al.
//! 2019).
//!
//! [`run()`] is a whole run, from text files to a model folder ([`PretrainConfig`],
//! [`PretrainReport`]); a [`PretrainObserver`] sees it happen. [`pretrain()`] is
//! that run as a command, with [`PretrainArgs`] for options.

mod args;
mod bigram;
mod checkpoint;
mod command;
mod config;
mod console;
mod events;
mod head;
mod learner;
mod metrics;
mod perplexity;
mod precision;
mod report;
mod run;
mod sampled;
mod unigram;

pub use args::PretrainArgs;
pub use command::{PRETRAIN_EXAMPLES, pretrain};
pub use config::{Length, PretrainConfig};
pub use console::PretrainConsole;
pub use events::{PretrainEvent, PretrainObserver};
pub use precision::Precision;
pub use report::PretrainReport;
pub use run::run;
