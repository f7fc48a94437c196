//! The command line of a pretraining run.

use std::path::PathBuf;

use clap::Args;
use dataset::Documents;
use gpt2_model::{DeviceChoice, Gpt2Config, StorageType};

use super::{
    config::{Length, PretrainConfig},
    precision::Precision,
};
use crate::{
    config::args::choice, config::settings::check_names, error::Result,
    training::adamw::AdamWConfig,
};

/// Options of a pretraining run.
#[derive(Args, Clone, Debug)]
pub struct PretrainArgs {
    /// Text to learn from, UTF-8; may be given several times
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub text: Vec<PathBuf>,
    /// Shape of the model: a config.json in the Hugging Face layout of GPT-2
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Folder for the model, config.json and model.safetensors
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Go on from the checkpoint in --out, if there is one
    #[arg(long)]
    pub resume: bool,
    /// Begin with the weights of this model, of the same shape [default: drawn]
    #[arg(long, value_name = "DIR")]
    pub init: Option<PathBuf>,
    /// What separates documents: an empty line, or nothing but the end of a file
    #[arg(long, default_value = "blank-lines", help_heading = "Text",
        value_parser = choice::<Documents>(&["blank-lines", "files"]))]
    pub documents: Documents,
    /// Part of the documents that is held out to evaluate on
    #[arg(long, value_name = "X", default_value_t = 0.01, help_heading = "Text")]
    pub held_out: f64,
    /// Tokens in a window [default: n_positions of the model]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub context: Option<usize>,
    /// Windows in a batch
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Training")]
    pub batch_size: usize,
    /// Optimizer steps [default: as --epochs says]
    #[arg(long, value_name = "N", conflicts_with = "epochs", help_heading = "Training")]
    pub steps: Option<usize>,
    /// Passes over the text
    #[arg(long, value_name = "X", default_value_t = 1.0, help_heading = "Training")]
    pub epochs: f64,
    /// Highest learning rate
    #[arg(long, value_name = "X", default_value_t = 1e-3, help_heading = "Training")]
    pub lr: f64,
    /// Learning rate of the last step [default: a tenth of --lr]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub min_lr: Option<f64>,
    /// Steps in which the learning rate rises
    #[arg(long, value_name = "N", default_value_t = 200, help_heading = "Training")]
    pub warmup: usize,
    /// Weight decay of AdamW, on matrices alone
    #[arg(long, value_name = "X", default_value_t = 0.1, help_heading = "Training")]
    pub weight_decay: f64,
    /// Decay rate of AdamW's mean of squared gradients
    #[arg(long, value_name = "X", default_value_t = 0.95, help_heading = "Training")]
    pub beta2: f64,
    /// Longest gradient, over all parameters; longer ones are scaled down
    #[arg(long, value_name = "X", default_value_t = 1.0, help_heading = "Training")]
    pub clip: f64,
    /// Seed of the held-out part, the weights, the order of windows and samples
    #[arg(long, value_name = "N", default_value_t = 123, help_heading = "Training")]
    pub seed: u32,
    /// Matrix products of training steps: bfloat16 is several times faster on a CPU
    /// that has it in hardware (avx512_bf16, amx), and slower on others
    #[arg(long, default_value = "float32", help_heading = "Speed",
        value_parser = choice::<Precision>(&["float32", "bfloat16"]))]
    pub precision: Precision,
    /// Tokens in the softmax of a training step, half of them the most frequent,
    /// half a random sample that stands for all others [default: the vocabulary]
    #[arg(long, value_name = "N", help_heading = "Speed")]
    pub softmax_candidates: Option<usize>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", help_heading = "Speed")]
    pub device: DeviceChoice,
    /// Threads to compute with on the CPU [default: one a core]
    #[arg(long, value_name = "N", help_heading = "Speed")]
    pub threads: Option<usize>,
    /// Evaluate on the held-out part after every N steps
    #[arg(long, value_name = "N", default_value_t = 500, help_heading = "Output")]
    pub eval_every: usize,
    /// Write a checkpoint after every N steps
    #[arg(long, value_name = "N", default_value_t = 500, help_heading = "Output")]
    pub checkpoint_every: usize,
    /// Write a sample of text after every N steps
    #[arg(long, value_name = "N", default_value_t = 500, help_heading = "Output")]
    pub sample_every: usize,
    /// Number format of the model file
    #[arg(long, default_value = "float16", help_heading = "Output",
        value_parser = choice::<StorageType>(&["float16", "float32"]))]
    pub dtype_out: StorageType,
    /// Print the report as JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

impl PretrainArgs {
    /// The run that is asked for.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) if the model's configuration cannot be
    /// read, [`Error::Config`](crate::Error::Config) for settings without meaning.
    pub fn resolve(&self) -> Result<PretrainConfig> {
        check_names([&self.config])?;
        let shape = Gpt2Config::from_file(&self.config)?;
        let config = PretrainConfig {
            text: self.text.clone(),
            documents: self.documents,
            held_out: self.held_out,
            config: self.config.clone(),
            init: self.init.clone(),
            out: self.out.clone(),
            seed: self.seed,
            context: self.context.unwrap_or(shape.n_positions as usize),
            batch_size: self.batch_size,
            length: self.steps.map_or(Length::Epochs(self.epochs), Length::Steps),
            adamw: AdamWConfig {
                lr: self.lr,
                beta2: self.beta2,
                weight_decay: self.weight_decay,
                ..AdamWConfig::default()
            },
            min_lr: self.min_lr.unwrap_or(self.lr / 10.0),
            warmup: self.warmup,
            clip: self.clip,
            precision: self.precision,
            softmax_candidates: self.softmax_candidates,
            eval_every: self.eval_every,
            checkpoint_every: self.checkpoint_every,
            sample_every: self.sample_every,
            dtype_out: self.dtype_out,
            device: self.device.to_string(),
            threads: self.threads,
        };
        config.check()?;
        Ok(config)
    }
}
