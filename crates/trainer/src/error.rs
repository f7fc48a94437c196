//! What can go wrong, each in one sentence.

use std::path::{Path, PathBuf};

use tch::TchError;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The labelled text cannot be used.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
    /// The model cannot be loaded or computed.
    #[error(transparent)]
    Model(#[from] gpt2_model::Error),
    /// The adapter cannot be made, read or written.
    #[error(transparent)]
    Lora(#[from] lora::Error),
    /// A plot cannot be drawn or written.
    #[error(transparent)]
    Plot(#[from] crate::reports::plots::PlotError),
    /// The rows of an evaluation cannot be measured.
    #[error(transparent)]
    Classification(#[from] crate::metrics::ClassificationError),
    /// A setting has no meaning, or does not go with another.
    #[error("{}", gpt2_model::plain(.0))]
    Config(String),
    /// There is no model where one was expected.
    #[error("{}", gpt2_model::plain(.0))]
    Missing(String),
    /// A file of the run cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason the system gave.
        source: std::io::Error,
    },
    /// The checkpoint of a run cannot be used.
    #[error("{}: {}", path.display(), gpt2_model::plain(.reason))]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A pretraining run was stopped from outside, and can go on.
    #[error(
        "stopped after step {step} of {steps}; the same command with --resume goes on from there"
    )]
    Stopped {
        /// Steps taken.
        step: usize,
        /// Steps of the run.
        steps: usize,
    },
    /// A training run was stopped from outside, and can go on.
    #[error("stopped after step {step} of {steps}; --resume goes on from there")]
    Interrupted {
        /// Steps taken.
        step: usize,
        /// Steps of the run.
        steps: usize,
    },
    /// The loss of a pretraining run is no number any more.
    #[error(
        "the loss is {loss} at step {step} (windows that begin at the tokens {windows:?} of the \
         training text); lower the learning rate, or lengthen the warm-up"
    )]
    PretrainDiverged {
        /// The step, from 1.
        step: usize,
        /// Infinite or not a number, or that of an infinite gradient.
        loss: f64,
        /// Where the windows of the batch begin, in tokens from the text's first.
        windows: Vec<usize>,
    },
    /// A text is longer than the model's context.
    #[error("text {}: {}", text + 1, too_long(*tokens, *context, TRUNCATE))]
    TooLong {
        /// Which of the texts, from 0.
        text: usize,
        /// Its tokens.
        tokens: usize,
        /// The most that the model can read.
        context: usize,
    },
    /// What the model answers to a text is no number.
    #[error("text {}: {}", text + 1, no_number(adapter))]
    NoNumber {
        /// Which of the texts, from 0.
        text: usize,
        /// The adapter's folder.
        adapter: PathBuf,
    },
    /// A gradient is no number, and `--detect-anomaly` looked.
    #[error(
        "the gradient of {parameter} is no finite number at step {step} (rows {rows:?} of \
         train.csv); nothing was changed by it. Lower the learning rate or alpha, or look at \
         these rows"
    )]
    Anomaly {
        /// The step, from 0.
        step: usize,
        /// The first parameter with such a gradient.
        parameter: String,
        /// Row numbers of the batch in the training part.
        rows: Vec<usize>,
    },
    /// The loss is no number any more.
    #[error(
        "the loss is {loss} at step {step} (rows {rows:?} of train.csv); \
         lower the learning rate or alpha"
    )]
    Diverged {
        /// The step, from 0.
        step: usize,
        /// Infinite or not a number.
        loss: f64,
        /// Row numbers of the batch in the training part.
        rows: Vec<usize>,
    },
    /// libtorch refused an operation.
    #[error("libtorch: {}", gpt2_model::short_message(.0))]
    Torch(#[from] TchError),
}

/// What to do about a text that is too long to be classified.
const TRUNCATE: &str = "--truncate";

/// What is said of a text that is longer than the model's context; `option` cuts it.
pub(crate) fn too_long(tokens: usize, context: usize, option: &str) -> String {
    format!(
        "the text has {tokens} tokens, more than the model's context of {context}; shorten it, or \
         give {option} to have such texts cut"
    )
}

fn no_number(adapter: &Path) -> String {
    format!(
        "the answer is no number: the adapter in {} or its base has numbers that are too large to \
         compute with; look at its alpha, or train it again",
        adapter.display()
    )
}

impl Error {
    /// The error, of a text that is in a row or line of a file: `place` gives it for the
    /// number of the text.
    pub(crate) fn at(self, place: impl FnOnce(usize, String) -> dataset::Error) -> Self {
        match self {
            Self::TooLong { text, tokens, context } => {
                place(text, too_long(tokens, context, TRUNCATE)).into()
            }
            Self::NoNumber { text, adapter } => place(text, no_number(&adapter)).into(),
            error => error,
        }
    }
}

/// Labels as a message lists them.
pub(crate) fn quoted(labels: &[String]) -> String {
    labels.iter().map(|label| format!("{label:?}")).collect::<Vec<_>>().join(", ")
}
