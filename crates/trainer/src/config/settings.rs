//! What a run does, with everything resolved: `config.json` of a run folder.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use dataset::{Columns, Data, Format, Quotes, Source, SplitConfig};
use gpt2_model::{Arithmetic, DType, Pooling};
use lora::{Init, LoraConfig, Scaling, Targets};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    task::class_weights::ClassWeights,
    trainable::parameters::Head,
    training::adamw::AdamWConfig,
    training::early_stopping::Keep,
    training::schedule::Decay,
    training::step::StepConfig,
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

/// What becomes of classes of different sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Rows are left out until every class has as many as the smallest
    #[default]
    Undersample,
    /// They stay as they are
    None,
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
    /// Batches of which one step is made: its gradient is that of one batch of all
    /// their rows.
    #[serde(default = "one")]
    pub gradient_accumulation_steps: usize,
    /// How the learning rate goes on after the warm-up.
    #[serde(default)]
    pub schedule: Decay,
    /// Steps in which the learning rate rises.
    #[serde(default)]
    pub warmup_steps: usize,
    /// Learning rate of each `B` over that of each `A`.
    #[serde(default = "unchanged")]
    pub lora_plus_ratio: f64,
    /// Epochs without a lower loss on the validation part after which training
    /// stops.
    #[serde(default)]
    pub early_stopping: Option<usize>,
    /// Which adapter is left in the end.
    #[serde(default)]
    pub keep: Keep,
    /// How a step is computed.
    #[serde(flatten)]
    pub step: StepConfig,
}

fn one() -> usize {
    1
}

fn unchanged() -> f64 {
    1.0
}

/// Counts above this are slips of the keyboard, and sums of them would not fit.
pub(crate) const MAX_COUNT: usize = 1_000_000_000;
/// libtorch ends the program where the system has no thread left to give.
pub(crate) const MAX_THREADS: usize = 1024;

/// Refuses names that no file of settings can hold.
pub(crate) fn check_names<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    match paths.into_iter().find(|path| path.to_str().is_none()) {
        None => Ok(()),
        Some(path) => Err(Error::Config(format!(
            "the name {} is no UTF-8, and cannot be kept in a file of settings; give it another one",
            path.display()
        ))),
    }
}

pub(crate) fn check_count(name: &str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!("{name} is {value}; expected 1 to {most}")))
}

fn check_positive(name: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::Config(format!("{name} is {value}; expected a positive number")))
}

impl FitConfig {
    /// The loop of a recipe.
    pub fn recipe(recipe: Recipe) -> Self {
        let (pooling, pad_to) = match recipe {
            Recipe::Default => (Pooling::LastToken, PadTo::None),
            Recipe::Book => (Pooling::LastPosition, PadTo::MaxLength),
        };
        Self {
            epochs: 5,
            batch_size: 8,
            eval_every: 50,
            eval_batches: 5,
            pooling,
            pad_to,
            gradient_accumulation_steps: 1,
            schedule: Decay::Constant,
            warmup_steps: 0,
            lora_plus_ratio: 1.0,
            early_stopping: None,
            keep: Keep::Last,
            step: StepConfig::default(),
        }
    }

    fn check(&self) -> Result<()> {
        check_count("epochs", self.epochs, MAX_COUNT)?;
        check_count("batch-size", self.batch_size, MAX_COUNT)?;
        check_count("eval-every", self.eval_every, MAX_COUNT)?;
        check_count("eval-batches", self.eval_batches, MAX_COUNT)?;
        let accumulated = self.gradient_accumulation_steps;
        check_count("gradient-accumulation-steps", accumulated, MAX_COUNT)?;
        check_count("early-stopping", self.early_stopping.unwrap_or(1), MAX_COUNT)?;
        check_positive("lora-plus-ratio", self.lora_plus_ratio)?;
        check_positive("max-grad-norm", self.step.max_grad_norm.unwrap_or(1.0))?;
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
    /// Labelled text to validate on, where the split is given.
    #[serde(default)]
    pub validation_data: Option<PathBuf>,
    /// Labelled text to test on, where the split is given.
    #[serde(default)]
    pub test_data: Option<PathBuf>,
    /// Format of these files; without it their names decide.
    #[serde(default)]
    pub format: Option<Format>,
    /// Column with the text.
    #[serde(default)]
    pub text_column: Option<String>,
    /// Column with the label.
    #[serde(default)]
    pub label_column: Option<String>,
    /// What becomes of classes of different sizes.
    #[serde(default)]
    pub balance: Balance,
    /// Every class is split by itself.
    #[serde(default)]
    pub stratify: bool,
    /// Folder that gets all results.
    pub out: PathBuf,
    /// What becomes of quotation marks that a text opens with.
    pub quotes: Quotes,
    /// Seed of the head, the adapter and the order of the rows.
    pub seed: u32,
    /// Seed of the balanced split.
    pub split_seed: u32,
    /// Longest row in tokens; rows are cut to it. `None`: the longest training row,
    /// and one that is longer than the model's context is an error (with the book's recipe,
    /// one to train on alone).
    pub max_length: Option<usize>,
    /// How formulas are computed.
    pub arithmetic: Arithmetic,
    /// Device to compute on: `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Threads to compute with on the CPU. `None`: as libtorch chooses.
    pub threads: Option<usize>,
    /// How the head is trained.
    #[serde(default)]
    pub head: Head,
    /// How much each class counts in the loss.
    #[serde(default)]
    pub class_weights: ClassWeights,
    /// A checkpoint is kept every so many steps, beside that of each epoch's end.
    #[serde(default)]
    pub checkpoint_every: Option<usize>,
    /// Checkpoints that are kept.
    #[serde(default = "two")]
    pub keep_checkpoints: usize,
    /// Event files for TensorBoard are written too.
    #[serde(default)]
    pub tensorboard: bool,
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

/// The last one, and one before in case something is wrong with it.
fn two() -> usize {
    2
}

impl RunConfig {
    /// The files of labelled text, and how they are read.
    pub fn labelled(&self) -> Data {
        let source = match &self.test_data {
            None => Source::One(self.data.clone()),
            Some(test) => Source::Given {
                train: self.data.clone(),
                validation: self.validation_data.clone(),
                test: test.clone(),
            },
        };
        let columns = Columns { text: self.text_column.clone(), label: self.label_column.clone() };
        Data { source, columns, format: self.format }
    }

    /// The files that the training, validation and test rows are from.
    pub(crate) fn files(&self) -> [&Path; 3] {
        let test = self.test_data.as_ref().unwrap_or(&self.data);
        let validation = self.validation_data.as_ref().unwrap_or(&self.data);
        [&self.data, validation, test].map(|file| file.as_path())
    }

    /// How they become parts.
    pub fn split(&self) -> SplitConfig {
        SplitConfig {
            seed: self.split_seed,
            quotes: self.quotes,
            balance: self.balance == Balance::Undersample,
            stratify: self.stratify,
            ..SplitConfig::default()
        }
    }

    /// Refuses settings without meaning.
    ///
    /// # Errors
    /// [`Error::Config`] names the setting.
    pub fn check(&self) -> Result<()> {
        let given = [&self.validation_data, &self.test_data].into_iter().flatten();
        check_names(given.chain([&self.model, &self.data, &self.out]))?;
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
        if self.validation_data.is_some() && self.test_data.is_none() {
            return Err(Error::Config(
                "validation-data needs test-data: a split is given as a whole, or cut from the data"
                    .to_owned(),
            ));
        }
        if self.lora.init == Init::Pissa && self.fit.step.dtype != DType::Float32 {
            return Err(Error::Config(
                "PiSSA takes the principal part out of the weights, and needs them in float32: \
                 leave out init or dtype"
                    .to_owned(),
            ));
        }
        if self.lora.dropout > 0.0 && self.fit.step.gradient_checkpointing {
            return Err(Error::Config(
                "gradient checkpointing computes a block twice, and dropout would leave out other \
                 numbers the second time; leave one of them out"
                    .to_owned(),
            ));
        }
        self.lora.check()?;
        check_count("checkpoint-every", self.checkpoint_every.unwrap_or(1), MAX_COUNT)?;
        check_count("keep-checkpoints", self.keep_checkpoints, MAX_COUNT)?;
        check_count("max-length", self.max_length.unwrap_or(1), MAX_COUNT)?;
        check_count("threads", self.threads.unwrap_or(1), MAX_THREADS)
    }
}
