//! Errors of this crate, each in one sentence.

use std::path::{Path, PathBuf};

use tch::TchError;

pub(crate) use crate::label_list::quoted;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dataset cannot be used.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
    /// The model cannot be loaded or computed.
    #[error(transparent)]
    Model(#[from] gpt2_model::Error),
    /// The adapter cannot be made, read or written.
    #[error(transparent)]
    Lora(lora::Error),
    /// A plot cannot be rendered.
    #[error(transparent)]
    Plot(#[from] crate::reports::plots::PlotError),
    /// Metrics cannot be computed.
    #[error(transparent)]
    Classification(#[from] crate::metrics::ClassificationError),
    /// A setting has no meaning, or does not go with another.
    #[error("{}", storage::terminal_safe(.0))]
    Config(String),
    /// There is no model where one was expected.
    #[error("{}", storage::terminal_safe(.0))]
    Missing(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The checkpoint of a run cannot be used.
    #[error("{}: {}", path.display(), storage::terminal_safe(.reason))]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A training run was stopped from outside, and can go on.
    #[error("stopped after step {step} of {steps}; --resume continues from there")]
    Interrupted {
        /// Steps taken.
        step: usize,
        /// Steps of the run.
        steps: usize,
    },
    /// A text is longer than the model's context.
    #[error("text {}: {}", text + 1, too_long(*tokens, *context))]
    TooLong {
        /// Index of the text, from 0.
        text: usize,
        /// Length of the text in tokens.
        tokens: usize,
        /// Context of the model in tokens.
        context: usize,
    },
    /// The logits of a text are NaN or infinite.
    #[error("text {}: {}", text + 1, not_finite(adapter))]
    NotFinite {
        /// Index of the text, from 0.
        text: usize,
        /// Folder of the adapter.
        adapter: PathBuf,
    },
    /// A gradient is NaN or infinite, and anomalies are detected.
    #[error(
        "the gradient of {parameter} is NaN or infinite at step {step} ({examples}); the step was \
         not taken. Lower the learning rate or alpha, or check these examples"
    )]
    Anomaly {
        /// The step, from 0.
        step: usize,
        /// The first parameter with such a gradient.
        parameter: String,
        /// The examples of its batch.
        examples: String,
    },
    /// The last steps have made a parameter NaN or infinite.
    #[error(
        "{parameter} is NaN or infinite after the last step ({steps}); lower the learning rate or \
         alpha, or lengthen the warmup"
    )]
    DivergedAtEnd {
        /// Steps taken.
        steps: usize,
        /// The first such parameter.
        parameter: String,
    },
    /// The loss is NaN or infinite.
    #[error(
        "the loss is {loss} at step {step} ({examples}); lower the learning rate or alpha, or \
         lengthen the warmup"
    )]
    Diverged {
        /// The step, from 0.
        step: usize,
        /// Infinite or not a number.
        loss: f64,
        /// The examples of its batch.
        examples: String,
    },
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Self::Model(error.into())
    }
}

impl From<lora::Error> for Error {
    fn from(error: lora::Error) -> Self {
        match error {
            lora::Error::Torch(error) => error.into(),
            error => Self::Lora(error),
        }
    }
}

/// Message for a text longer than the model's context.
pub(crate) fn too_long(tokens: usize, context: usize) -> String {
    format!(
        "the text has {tokens} tokens, more than the model's context of {context}; shorten it, or \
         truncate such texts with --on-long-text truncate"
    )
}

fn not_finite(adapter: &Path) -> String {
    format!(
        "the logits are NaN or infinite: the adapter in {} or its base model has values that are too \
         large to compute with; check its alpha, or train it again",
        adapter.display()
    )
}

impl Error {
    /// Adds the position of a text in a file, given by `position` for the index of the text.
    pub(crate) fn at(self, position: impl FnOnce(usize, String) -> dataset::Error) -> Self {
        match self {
            Self::TooLong { text, tokens, context } => {
                position(text, too_long(tokens, context)).into()
            }
            Self::NotFinite { text, adapter } => position(text, not_finite(&adapter)).into(),
            error => error,
        }
    }
}
