//! The command line of a training run, shared by the binaries.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use dataset::{Format, Quotes};
use gpt2_model::{Arithmetic, DType, DeviceChoice, Pooling};
use lora::{Init, Scaling};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    config::settings::{Balance, PadTo, Recipe},
    task::class_weights::ClassWeights,
    trainable::parameters::Head,
    training::early_stopping::Keep,
    training::schedule::Decay,
};

/// Options of a training run. What is not given comes from the file of `--config`,
/// from what the model suggests ([`Suggested`](crate::Suggested)), or from the recipe,
/// in this order. In such a file the options have the names that they have here.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrainArgs {
    /// Take options from a TOML file, which names them as they are named here
    /// (batch-size = 16); options on the command line win, --dora=false for example.
    /// Every run leaves such a file, run.toml, which repeats it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Base model: a folder with config.json and model.safetensors, or the name
    /// of a folder below weights/ [default: gpt2]
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<String>,
    /// Folder for the results, without those of another run [default: a new one below
    /// runs/]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where defaults come from; the settings of a fine_tuning.json in the model's
    /// folder take the place of the default recipe's [default: default]
    #[arg(long, value_enum)]
    pub recipe: Option<Recipe>,
    /// Labelled text: CSV, TSV, JSON Lines or Parquet with a text and a label column,
    /// or a line "label<TAB>text" each. It is split, or with --test-data trained on
    /// [default: datasets/sms-spam/SMSSpamCollection]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub data: Option<PathBuf>,
    /// Labelled text to validate on, where the split is given [default: a part of
    /// --data]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub validation_data: Option<PathBuf>,
    /// Labelled text to test on, where the split is given
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub test_data: Option<PathBuf>,
    /// Format of the data: tsv, csv, jsonl or parquet [default: what a file's name
    /// ends in; tsv where it ends in nothing known]
    #[arg(long, value_name = "FORMAT", help_heading = "Data")]
    pub format: Option<Format>,
    /// Column with the text [default: text]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub text_column: Option<String>,
    /// Column with the label [default: label]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub label_column: Option<String>,
    /// Cut every class down to the size of the smallest, or leave them as they are
    /// [default: undersample; where the split is given, or classes have weights: none]
    #[arg(long, value_enum, help_heading = "Data")]
    pub balance: Option<Balance>,
    /// Split every class by itself, so that each part has its share of it
    #[arg(long, help_heading = "Data", num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_missing_value = "true")]
    pub stratify: Option<bool>,
    /// Quotation marks that a text opens with: text like any other, or stripped as
    /// CSV readers do [default: keep; with --recipe book: strip]
    #[arg(long, value_parser = choice::<Quotes>(&["keep", "strip"]), help_heading = "Data")]
    pub quotes: Option<Quotes>,
    /// Longest row in tokens; longer ones are cut [default: the longest training row;
    /// a row that is longer than the model's context is refused then]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub max_length: Option<usize>,
    /// Seed of the split alone, to vary --seed on the same split [default: --seed]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub split_seed: Option<u32>,
    /// Inner dimension of the adapters [default: 16]
    #[arg(long, value_name = "N", help_heading = "Adapter")]
    pub rank: Option<i64>,
    /// Strength of the adapters [default: 16]
    #[arg(long, value_name = "X", help_heading = "Adapter")]
    pub alpha: Option<f64>,
    /// Factor on the low-rank product: alpha, alpha / rank, or alpha / sqrt(rank)
    /// [default: alpha]
    #[arg(long, help_heading = "Adapter", value_parser = choice::<Scaling>(&["alpha", "alpha-over-rank", "rslora"]))]
    pub scaling: Option<Scaling>,
    /// Layers that get an adapter: by name or its end (c_attn, attn.c_proj, q,
    /// score …), or all whose names match a pattern (re:h\.[01]\..*) [default:
    /// all-linear]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Adapter")]
    pub target_modules: Vec<String>,
    /// Ranks of layers that differ, by name or pattern: c_attn=8,h\.0\..*=4
    #[arg(long, value_name = "NAME=N,…", value_delimiter = ',', help_heading = "Adapter")]
    pub rank_pattern: Vec<String>,
    /// Alphas of layers that differ, by name or pattern
    #[arg(long, value_name = "NAME=X,…", value_delimiter = ',', help_heading = "Adapter")]
    pub alpha_pattern: Vec<String>,
    /// Probability that a number of an adapter's input is left out in a step
    /// [default: 0]
    #[arg(long, value_name = "P", help_heading = "Adapter")]
    pub lora_dropout: Option<f64>,
    /// Train the length of each row of a weight apart from its direction (DoRA)
    #[arg(long, help_heading = "Adapter", num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_missing_value = "true")]
    pub dora: Option<bool>,
    /// What adapters start from: nothing, or the principal singular vectors of the
    /// weights (PiSSA) [default: kaiming]
    #[arg(long, help_heading = "Adapter", value_parser = choice::<Init>(&["kaiming", "pissa"]))]
    pub init: Option<Init>,
    /// How the classification head is trained [default: lora]
    #[arg(long, value_enum, help_heading = "Adapter")]
    pub head: Option<Head>,
    /// Learning rate [default: 5e-5]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub lr: Option<f64>,
    /// Learning rate of each B over that of each A (LoRA+) [default: 1]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub lora_plus_ratio: Option<f64>,
    /// How the learning rate goes on after the warm-up [default: constant]
    #[arg(long, value_enum, help_heading = "Training")]
    pub schedule: Option<Decay>,
    /// Steps in which the learning rate rises to --lr [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub warmup_steps: Option<usize>,
    /// Weight decay of AdamW [default: 0.1]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub weight_decay: Option<f64>,
    /// Scale gradients down to a common norm of at most X [default: no limit]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub max_grad_norm: Option<f64>,
    /// Look at every gradient and stop at the first that is no number, naming it
    #[arg(long, help_heading = "Training", num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_missing_value = "true")]
    pub detect_anomaly: Option<bool>,
    /// Passes over the training part [default: 5]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub epochs: Option<usize>,
    /// Rows that are computed together [default: 8]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub batch_size: Option<usize>,
    /// Batches of which one step is made: its gradient is that of one batch of all
    /// their rows. Rows of an epoch that fill no whole step are left out [default: 1]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub gradient_accumulation_steps: Option<usize>,
    /// Weights of the classes in the loss of training: none, balanced (the rarer,
    /// the more), or LABEL=WEIGHT,…. With weights, classes stay as large as they are
    /// unless --balance says else [default: none]
    #[arg(long, value_name = "WEIGHTS", help_heading = "Training")]
    pub class_weights: Option<ClassWeights>,
    /// Evaluate the losses after every N steps [default: 50]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub eval_every: Option<usize>,
    /// Batches of each part in an evaluation [default: 5]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub eval_batches: Option<usize>,
    /// Stop after N epochs without a lower loss on the whole validation part
    /// [default: never]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub early_stopping: Option<usize>,
    /// Which adapter is left in the end [default: last]
    #[arg(long, value_enum, help_heading = "Training")]
    pub keep: Option<Keep>,
    /// Keep a checkpoint every N steps, beside that of each epoch's end
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub checkpoint_every: Option<usize>,
    /// Keep the last N checkpoints until the run is finished [default: 2]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub keep_checkpoints: Option<usize>,
    /// Go on from the last checkpoint in --out, if there is one. What comes of it has
    /// the bytes of a run that was never stopped
    #[arg(long, requires = "out", help_heading = "Training")]
    #[serde(skip)]
    pub resume: bool,
    /// Seed of the split, the head, the adapters and the order of rows [default: 123]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub seed: Option<u32>,
    /// Repeat the run with each of these seeds, two or more, on one split (that of --split-seed,
    /// else of seed 123), and report the mean and the standard deviation
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        help_heading = "Training",
        conflicts_with = "seed"
    )]
    pub seeds: Vec<u32>,
    /// What speaks for a row: the last position of the padded row, or the last real
    /// token [default: last-token; with --recipe book: last-position]
    #[arg(long, help_heading = "Training", value_parser = choice::<Pooling>(&["last-position", "last-token"]))]
    pub pooling: Option<Pooling>,
    /// How far the rows of a batch are padded. At the last token padding changes
    /// nothing but the time, and by default none is computed [default: none; with
    /// last-position: max-length; with stepwise arithmetic: longest; with --recipe
    /// book: max-length]
    #[arg(long, help_heading = "Training", value_parser = choice::<PadTo>(&["none", "longest", "max-length"]))]
    pub pad_to: Option<PadTo>,
    /// auto, cpu, cuda or cuda:N [default: auto]
    #[arg(long, help_heading = "Machine")]
    pub device: Option<DeviceChoice>,
    /// Fused operations are the fastest; step by step, rounding is that of the
    /// book's program [default: fused; with --recipe book: stepwise]
    #[arg(long, help_heading = "Machine", value_parser = choice::<Arithmetic>(&["fused", "stepwise"]))]
    pub arithmetic: Option<Arithmetic>,
    /// What the frozen weights are kept and multiplied in; adapters and optimizer
    /// stay float32. float16 is for CUDA [default: float32]
    #[arg(long, help_heading = "Machine", value_parser = choice::<DType>(&["float32", "bfloat16", "float16"]))]
    pub dtype: Option<DType>,
    /// Compute blocks a second time for their gradients instead of remembering
    /// them: less memory for long rows, up to half as much time again
    #[arg(long, help_heading = "Machine", num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_missing_value = "true")]
    pub gradient_checkpointing: Option<bool>,
    /// Threads to compute with on the CPU [default: one a core]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub threads: Option<usize>,
    /// Draw the base weights instead of reading them; config.json is enough
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_missing_value = "true")]
    pub random_init: Option<bool>,
    /// Write TensorBoard event files too, into the folder tensorboard of the run
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_missing_value = "true")]
    pub tensorboard: Option<bool>,
    /// Print the modules of the adapted model; with --json, to standard error
    #[arg(long)]
    #[serde(skip)]
    pub print_model: bool,
    /// Print the report as JSON instead of a table
    #[arg(long)]
    #[serde(skip)]
    pub json: bool,
}

/// A value of a type whose names are known to serde.
pub(crate) fn choice<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    names: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names)
        .try_map(|name| serde_json::from_value::<T>(Value::String(name)))
}
