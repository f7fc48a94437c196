//! What a pretraining run does, with everything resolved.

use std::path::PathBuf;

use dataset::Documents;
use gpt2_model::StorageType;
use serde::{Deserialize, Deserializer, Serialize};

use super::precision::Precision;
use crate::{
    config::settings::{MAX_COUNT, MAX_THREADS, check_count, check_names},
    error::{Error, Result},
    training::adamw::AdamWConfig,
};

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// So many optimizer steps.
    Steps(usize),
    /// So many passes over the text, which may be a broken number.
    Epochs(f64),
}

/// JSON has no infinite numbers; they are written as `null`.
fn null_is_infinite<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

/// Everything that a pretraining run needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PretrainConfig {
    /// The text, UTF-8.
    pub text: Vec<PathBuf>,
    /// What separates the documents of the text.
    pub documents: Documents,
    /// The part of the documents that is held out.
    pub held_out: f64,
    /// `config.json` of the model.
    pub config: PathBuf,
    /// Folder of a model of the same shape whose weights are begun with; else
    /// they are drawn.
    pub init: Option<PathBuf>,
    /// Folder that gets the model.
    pub out: PathBuf,
    /// Seed of the held-out part, the weights, the order of the windows, and what
    /// is sampled.
    pub seed: u32,
    /// Tokens in a window.
    pub context: usize,
    /// Windows in a batch.
    pub batch_size: usize,
    /// How long the run is.
    pub length: Length,
    /// The optimizer; its learning rate is the highest of the schedule.
    #[serde(flatten)]
    pub adamw: AdamWConfig,
    /// Learning rate of the last step.
    pub min_lr: f64,
    /// Steps in which the learning rate rises.
    pub warmup: usize,
    /// Gradients of a greater norm, over all parameters, are scaled down to it;
    /// infinite for none.
    #[serde(deserialize_with = "null_is_infinite")]
    pub clip: f64,
    /// What matrix products are computed in.
    pub precision: Precision,
    /// Candidates of the softmax in a training step; `None`: the whole vocabulary.
    pub softmax_candidates: Option<usize>,
    /// Evaluate on the held-out part after every so many steps.
    pub eval_every: usize,
    /// Write a checkpoint after every so many steps.
    pub checkpoint_every: usize,
    /// Write a sample of text after every so many steps.
    pub sample_every: usize,
    /// Number format of the model file.
    pub dtype_out: StorageType,
    /// Device to compute on: `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Threads to compute with on the CPU. `None`: as libtorch chooses.
    pub threads: Option<usize>,
}

impl PretrainConfig {
    /// Refuses settings without meaning.
    ///
    /// # Errors
    /// [`Error::Config`] names the setting.
    pub fn check(&self) -> Result<()> {
        if self.text.is_empty() {
            return Err(Error::Config("there is no text; give --text FILE".to_owned()));
        }
        check_names(self.text.iter().chain([&self.config, &self.out]).chain(&self.init))?;
        let steps = match self.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) if epochs.is_finite() && epochs > 0.0 => 1,
            Length::Epochs(epochs) => {
                return Err(Error::Config(format!(
                    "epochs is {epochs}; expected a number above 0"
                )));
            }
        };
        for (name, value) in [
            ("context", self.context),
            ("batch-size", self.batch_size),
            ("steps", steps),
            ("eval-every", self.eval_every),
            ("checkpoint-every", self.checkpoint_every),
            ("sample-every", self.sample_every),
            ("softmax-candidates", self.softmax_candidates.unwrap_or(1)),
        ] {
            check_count(name, value, MAX_COUNT)?;
        }
        check_count("threads", self.threads.unwrap_or(1), MAX_THREADS)?;
        for (name, value) in [
            ("lr", self.adamw.lr),
            ("min-lr", self.min_lr),
            ("weight-decay", self.adamw.weight_decay),
        ] {
            if !value.is_finite() || value < 0.0 {
                return Err(Error::Config(format!(
                    "{name} is {value}; expected zero or a positive number"
                )));
            }
        }
        if self.min_lr > self.adamw.lr {
            return Err(Error::Config(format!(
                "min-lr {} is above lr {}; the learning rate falls from lr to min-lr",
                self.min_lr, self.adamw.lr
            )));
        }
        if self.clip.is_nan() || self.clip <= 0.0 {
            return Err(Error::Config(format!(
                "clip is {}; expected a positive number (inf for no clipping)",
                self.clip
            )));
        }
        Ok(())
    }

    /// The settings that decide what numbers come out, as they must be the same
    /// when a run goes on.
    pub(crate) fn decisive(&self) -> Self {
        Self {
            text: Vec::new(),
            config: PathBuf::new(),
            init: None,
            out: PathBuf::new(),
            eval_every: 0,
            checkpoint_every: 0,
            sample_every: 0,
            dtype_out: StorageType::default(),
            device: String::new(),
            threads: None,
            ..self.clone()
        }
    }
}
