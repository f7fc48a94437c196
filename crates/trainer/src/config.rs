//! What a run does, with everything resolved: `config.json` of a run folder.

use std::path::PathBuf;

use clap::ValueEnum;
use dataset::Quotes;
use gpt2_model::{Arithmetic, DType, Pooling};
use lora::{LoraConfig, Scaling, Targets};
use serde::{Deserialize, Serialize};

use crate::{
    adamw::AdamWConfig,
    error::{Error, Result},
    step::StepConfig,
};

/// A set of defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// Pool at the last real token, compute no padding
    #[default]
    Default,
    /// Appendix E of "Build a Large Language Model (From Scratch)" to the digit:
    /// pool at the last position, pad to the longest training row, read opening
    /// quotation marks as CSV does
    Book,
}

impl Recipe {
    /// What becomes of quotation marks that a text opens with.
    pub fn quotes(self) -> Quotes {
        match self {
            Self::Default => Quotes::Keep,
            Self::Book => Quotes::Strip,
        }
    }

    /// How formulas are computed.
    pub fn arithmetic(self) -> Arithmetic {
        match self {
            Self::Default => Arithmetic::Fused,
            Self::Book => Arithmetic::Stepwise,
        }
    }
}

/// How far the rows of a batch are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PadTo {
    /// `max_length`, the same for every batch.
    MaxLength,
    /// The longest row of the batch.
    Longest,
    /// Not at all: rows are laid end to end, and no padding is computed.
    None,
}

/// Settings of the training loop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitConfig {
    /// Passes over the training part.
    pub epochs: usize,
    /// Rows in a batch.
    pub batch_size: usize,
    /// Losses are evaluated after every so many steps.
    pub eval_every: usize,
    /// Batches of each part that an evaluation looks at.
    pub eval_batches: usize,
    /// Position that speaks for a row.
    pub pooling: Pooling,
    /// How far rows are padded.
    pub pad_to: PadTo,
    /// How a step is computed.
    #[serde(flatten)]
    pub step: StepConfig,
}

/// Counts above this are slips of the keyboard, and sums of them would not fit.
const MAX_COUNT: usize = 1_000_000_000;
/// libtorch ends the program where the system has no thread left to give.
const MAX_THREADS: usize = 1024;

fn check_count(name: &str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!("{name} is {value}; expected 1 to {most}")))
}

impl FitConfig {
    /// The loop of a recipe.
    pub fn recipe(recipe: Recipe) -> Self {
        let (pooling, pad_to) = match recipe {
            Recipe::Default => (Pooling::LastToken, PadTo::None),
            Recipe::Book => (Pooling::LastPosition, PadTo::MaxLength),
        };
        let step = StepConfig::default();
        Self { epochs: 5, batch_size: 8, eval_every: 50, eval_batches: 5, pooling, pad_to, step }
    }

    fn check(&self) -> Result<()> {
        check_count("epochs", self.epochs, MAX_COUNT)?;
        check_count("batch-size", self.batch_size, MAX_COUNT)?;
        check_count("eval-every", self.eval_every, MAX_COUNT)?;
        check_count("eval-batches", self.eval_batches, MAX_COUNT)?;
        if self.pooling == Pooling::LastPosition && self.pad_to != PadTo::MaxLength {
            return Err(Error::Config(
                "pooling at the last position needs rows of one length (pad to max-length)"
                    .to_owned(),
            ));
        }
        if self.step.gradient_checkpointing && self.pad_to != PadTo::None {
            return Err(Error::Config(
                "gradient checkpointing needs batches without padding (pad to none)".to_owned(),
            ));
        }
        Ok(())
    }
}

impl Default for FitConfig {
    fn default() -> Self {
        Self::recipe(Recipe::Default)
    }
}

/// The adapter of the recipes: rank 16, α 16 as it is, every linear layer.
pub fn recipe_lora() -> LoraConfig {
    let scaling = Scaling::Alpha;
    LoraConfig {
        rank: 16,
        alpha: 16.0,
        scaling,
        targets: Targets::AllLinear,
        ..LoraConfig::default()
    }
}

/// The optimizer of the recipes: learning rate 5e-5, weight decay 0.1.
pub fn recipe_adamw() -> AdamWConfig {
    AdamWConfig { lr: 5e-5, weight_decay: 0.1, ..AdamWConfig::default() }
}

/// Everything that a run needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Where the defaults came from.
    pub recipe: Recipe,
    /// Folder of the base model.
    pub model: PathBuf,
    /// The weights are drawn, not read; `config.json` is enough.
    pub random_init: bool,
    /// The labelled text.
    pub data: PathBuf,
    /// Folder that gets all results.
    pub out: PathBuf,
    /// What becomes of quotation marks that a text opens with.
    pub quotes: Quotes,
    /// Seed of the head, the adapter and the order of the rows.
    pub seed: u32,
    /// Seed of the balanced split.
    pub split_seed: u32,
    /// Longest row in tokens; rows are cut to it. `None`: the longest training row.
    pub max_length: Option<usize>,
    /// How formulas are computed.
    pub arithmetic: Arithmetic,
    /// Device to compute on: `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Threads to compute with on the CPU. `None`: as libtorch chooses.
    pub threads: Option<usize>,
    /// The training loop.
    #[serde(flatten)]
    pub fit: FitConfig,
    /// The optimizer.
    #[serde(flatten)]
    pub adamw: AdamWConfig,
    /// The adapter.
    #[serde(flatten)]
    pub lora: LoraConfig,
}

impl RunConfig {
    /// Refuses settings without meaning.
    ///
    /// # Errors
    /// [`Error::Config`] names the setting.
    pub fn check(&self) -> Result<()> {
        self.fit.check()?;
        for (name, value) in [
            ("lr", self.adamw.lr),
            ("weight-decay", self.adamw.weight_decay),
            ("alpha", self.lora.alpha),
        ] {
            if !value.is_finite() || value < 0.0 {
                return Err(Error::Config(format!(
                    "{name} is {value}; expected zero or a positive number"
                )));
            }
        }
        if self.arithmetic == Arithmetic::Stepwise && self.fit.pad_to == PadTo::None {
            return Err(Error::Config(
                "stepwise arithmetic needs rows of one length in a batch (pad to longest or \
                 max-length)"
                    .to_owned(),
            ));
        }
        if self.arithmetic == Arithmetic::Stepwise && self.fit.step.dtype != DType::Float32 {
            return Err(Error::Config(
                "stepwise arithmetic has the book's rounding in float32 only".to_owned(),
            ));
        }
        self.lora.check()?;
        check_count("max-length", self.max_length.unwrap_or(1), MAX_COUNT)?;
        check_count("threads", self.threads.unwrap_or(1), MAX_THREADS)
    }
}
