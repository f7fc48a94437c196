//! Errors of this crate. Each message is one sentence.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use tch::TchError;

use crate::{
    config::error::{NotFoundError, SettingsError},
    inference::{error::AdapterError, scoring::ScoringError},
    run::error::RunDirectoryError,
    training::CheckpointError,
};

/// Result of the functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of this crate. Groups of errors have their own types, in the module that raises them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data cannot be used.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
    /// The model cannot be loaded or run.
    #[error(transparent)]
    Model(#[from] gpt2_model::Error),
    /// The adapter cannot be created, read or written.
    #[error(transparent)]
    Lora(lora::Error),
    /// A plot cannot be rendered.
    #[error(transparent)]
    Plot(#[from] crate::reports::plots::PlotError),
    /// Metrics cannot be computed.
    #[error(transparent)]
    Classification(#[from] crate::metrics::ClassificationError),
    /// A setting is invalid, or excludes another.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The base model or the data does not exist.
    #[error(transparent)]
    NotFound(#[from] NotFoundError),
    /// The directory of a run cannot be used.
    #[error(transparent)]
    RunDirectory(#[from] RunDirectoryError),
    /// A saved adapter or model cannot be used.
    #[error(transparent)]
    Adapter(Box<AdapterError>),
    /// A table cannot be scored into a directory.
    #[error(transparent)]
    Scoring(#[from] ScoringError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The processes of a run do not agree or lost each other.
    #[error(transparent)]
    Distributed(#[from] distributed::Error),
    /// Ctrl-C and the request to terminate cannot be handled.
    #[error("cannot handle signals: {0}")]
    Signals(String),
    /// A bug of this crate.
    #[error("internal error: {0}; please report it")]
    Internal(&'static str),
    /// A bug of this crate: a value that JSON or TOML cannot represent.
    #[error("internal error: cannot serialize the {value}: {reason}; please report it")]
    Serialize {
        /// Name of the value.
        value: &'static str,
        /// Message of the serializer.
        reason: String,
    },
    /// The checkpoint of a run cannot be used.
    #[error("{}: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: CheckpointError,
    },
    /// A training run was interrupted and can be resumed.
    #[error("stopped after step {step} of {steps}; --resume continues from there")]
    Interrupted {
        /// Steps taken.
        step: usize,
        /// Optimizer steps of the run.
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
    /// A gradient is NaN or infinite (`--detect-anomaly`).
    #[error(
        "step {step}: the gradient of {parameter} is NaN or infinite ({examples}), and the step was \
         not taken; lower --lr or --alpha, or check these examples"
    )]
    Anomaly {
        /// Step, from 0.
        step: usize,
        /// First parameter with such a gradient.
        parameter: String,
        /// Examples of the batch.
        examples: String,
    },
    /// A parameter is NaN or infinite after the last step.
    #[error(
        "{parameter}: NaN or infinite after the last step ({steps}); lower --lr or --alpha, or \
         increase --warmup-steps"
    )]
    DivergedAtEnd {
        /// Steps taken.
        steps: usize,
        /// First such parameter.
        parameter: String,
    },
    /// The loss is NaN or infinite.
    #[error(
        "step {step}: the loss is {loss} ({examples}); lower --lr or --alpha, or increase \
         --warmup-steps"
    )]
    Diverged {
        /// Step, from 0.
        step: usize,
        /// NaN or infinite.
        loss: f64,
        /// Examples of the batch.
        examples: String,
    },
}

impl From<AdapterError> for Error {
    fn from(error: AdapterError) -> Self {
        Self::Adapter(Box::new(error))
    }
}

impl From<gpt2_config::Error> for Error {
    fn from(error: gpt2_config::Error) -> Self {
        Self::Model(error.into())
    }
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

/// Problem of a text longer than the model's context.
pub(crate) fn too_long(tokens: usize, context: usize) -> String {
    format!(
        "the text has {tokens} tokens, more than the model's context of {context}; shorten it, or \
         truncate such texts with --on-long-text truncate"
    )
}

fn not_finite(adapter: &Path) -> String {
    format!(
        "the logits are NaN or infinite, because the adapter in {} or its base model has too large \
         values; check its alpha, or train it again",
        adapter.display()
    )
}

impl Error {
    pub(crate) fn serialize(value: &'static str, error: &impl Display) -> Self {
        Self::Serialize { value, reason: error.to_string() }
    }

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

#[cfg(test)]
mod tests;
