//! Settings of a run. Each option is declared once: the field gives its name on the command
//! line, in a file of settings and in `run.toml`; the attributes give its help and default.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use clap::{
    ArgMatches, Args, Command,
    builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser},
};
use dataset::{Columns, Documents, Encoding, Format, QuoteChar, Quotes, Separator, TableOptions};
use gpt2_model::{Arithmetic, DType, DeviceChoice, Pooling};
use lora::{Init, LoraConfig, Scaling};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    config::{
        patterns::{names_of, pairs, pattern, targets},
        recipe::Recipe,
    },
    error::Result,
    task::{classification::class_weights::ClassWeights, kind::TaskKind},
    trainable::parameters::{Head, Train, WeightDecayOn},
    training::{adamw::AdamWConfig, early_stopping::Keep, gradient_sum::Reduce, schedule::Decay},
};

/// Settings of a run.
///
/// Options without a default are derived from the others if they are not set; a
/// [`ResolvedRun`](crate::ResolvedRun) has all of them.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Settings {
    /// Base model: directory with config.json and model.safetensors, name of a directory below
    /// weights/, or OWNER/NAME of a checkpoint that was fetched from the Hugging Face Hub
    #[arg(long, value_name = "DIR|NAME", default_value = "gpt2",
          value_parser = NonEmptyStringValueParser::new())]
    pub model: String,
    /// Output directory; must not contain another run [default: a new one below runs/]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Set of defaults. fine_tuning.json in the directory of the model overrides the default
    /// recipe
    #[arg(long, value_enum, default_value_t)]
    pub recipe: Recipe,
    /// Task
    #[arg(long, value_enum, default_value_t)]
    pub task: TaskKind,
    /// Trainable parameters. Runs that train base weights save a complete Hugging Face model
    /// instead of an adapter
    #[arg(long, value_enum, default_value_t)]
    pub train: Train,
    /// Initialize the base model randomly instead of loading its weights; only config.json is
    /// needed
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_value_t = false, default_missing_value = "true")]
    pub random_init: bool,
    /// Data and its splits.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataSettings,
    /// The adapter.
    #[command(flatten)]
    #[serde(flatten)]
    pub adapter: AdapterSettings,
    /// The training loop.
    #[command(flatten)]
    #[serde(flatten)]
    pub training: TrainingSettings,
    /// Device, precision and threads.
    #[command(flatten)]
    #[serde(flatten)]
    pub machine: MachineSettings,
    /// Checkpoints and logs.
    #[command(flatten)]
    #[serde(flatten)]
    pub output: OutputSettings,
}

/// Data and its splits.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Data")]
#[serde(rename_all = "kebab-case", default)]
pub struct DataSettings {
    /// Labeled text: CSV, TSV, JSON or Parquet with a text and a label column, also compressed
    /// (gzip, zstd), or lines of a label, a tab and a text. Several files, directories and patterns
    /// ("data-*.csv") form one table; - is standard input. It is split into training,
    /// validation and test set; with --test-data it is the training set. For a language model:
    /// files of plain text, or tables (.jsonl, .json, .csv, .tsv, .parquet, or any file with
    /// --format) with the columns text, prompt and completion, instruction, input and output, or
    /// messages
    /// [default: datasets/sms-spam/SMSSpamCollection]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Validation set, with --test-data or for a language model [default: a fraction of --data]
    #[arg(long, value_name = "FILE")]
    pub validation_data: Option<PathBuf>,
    /// Test set [default: a fraction of --data]
    #[arg(long, value_name = "FILE")]
    pub test_data: Option<PathBuf>,
    /// Format of the data: tsv, csv, jsonl or parquet [default: detected from the content and
    /// the file extension]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Separator of CSV: tab, comma, semicolon, pipe or a character [default: detected]
    #[arg(long, value_name = "CHAR")]
    pub separator: Option<Separator>,
    /// Quotation mark around cells of CSV, or none to read quotation marks as text [default: ";
    /// none in TSV without a header]
    #[arg(long, value_name = "CHAR")]
    pub quote_char: Option<QuoteChar>,
    /// The first line of CSV is an example, not a header. Columns are named 1, 2, 3 …; two
    /// columns are label and text
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_value_t = false, default_missing_value = "true")]
    pub no_header: bool,
    /// Encoding of the data: utf-8, utf-8-lossy (malformed bytes are replaced and counted),
    /// latin-1 (also windows-1252) or utf-16 [default: utf-16 if the first bytes are, else utf-8]
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<Encoding>,
    /// Text column [default: text]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub text_column: Option<String>,
    /// Label column [default: label]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub label_column: Option<String>,
    /// Column of prompts of a language model [default: prompt]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub prompt_column: Option<String>,
    /// Column of completions of a language model [default: completion, or output of instructions]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub completion_column: Option<String>,
    /// File with a Jinja template of prompts, which sees all columns. One line break at its end is
    /// not part of it [default: the prompt, or the template of Alpaca for instructions]
    #[arg(long, value_name = "FILE")]
    pub prompt_template: Option<PathBuf>,
    /// File with a Jinja template of conversations, as for transformers [default:
    /// the model's, of chat_template.jinja or tokenizer_config.json, else headings for User and
    /// Assistant]
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Tokens in the loss of a language model [default: completions; all of texts without a
    /// prompt]
    #[arg(long, value_enum)]
    pub loss_on: Option<LossOn>,
    /// Class balancing [default: undersample; with --test-data or class weights: none]
    #[arg(long, value_enum)]
    pub balance: Option<Balance>,
    /// Stratified split: each class has the same fraction in every set
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_value_t = false, default_missing_value = "true")]
    pub stratify: bool,
    /// Quotation marks at the beginning of a text: keep them as text, or strip them as CSV
    /// readers do [with --recipe book: strip]
    #[arg(long, value_parser = choice::<Quotes>(&["keep", "strip"]), default_value = "keep")]
    pub quotes: Quotes,
    /// Maximum sequence length in tokens; longer texts are truncated [default: the longest
    /// training example, at most the model's context. For a language model the context]
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Treatment of texts longer than the model's context [with --recipe book, error applies
    /// only to training texts, as in the book]
    #[arg(long, value_enum, default_value_t)]
    pub on_long_text: OnLongText,
    /// Seed of the split, to vary --seed on the same split [default: --seed]
    #[arg(long, value_name = "N")]
    pub split_seed: Option<u32>,
    /// Separator of documents in plain text: blank lines, or only the end of a file
    #[arg(long, default_value = "blank-lines",
          value_parser = choice::<Documents>(&["blank-lines", "files"]))]
    pub documents: Documents,
    /// Fraction of the documents of plain text or of the examples of a language model in the
    /// validation set, at least one [default: 0.01; of examples in tables 0.1]
    #[arg(long, value_name = "X")]
    pub validation_fraction: Option<f64>,
}

/// The adapter.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Adapter")]
#[serde(rename_all = "kebab-case", default)]
pub struct AdapterSettings {
    /// Continue training the adapter in a directory, of a run or of Hugging Face PEFT. It
    /// determines the options of this group and --task, and the defaults of --model and
    /// --pooling. The data must have the labels of the adapter; examples of a language model get
    /// its templates, unless --prompt-template or --chat-template replaces them
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Labels in class order, for an adapter that does not name its classes
    #[arg(long, value_name = "LABEL,…", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Rank of the adapters
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub rank: i64,
    /// Alpha of the adapters
    #[arg(long, value_name = "X", default_value_t = 16.0)]
    pub alpha: f64,
    /// Scaling factor of BA: alpha, alpha / rank, or alpha / sqrt(rank)
    #[arg(long, default_value = "alpha",
          value_parser = choice::<Scaling>(&["alpha", "alpha-over-rank", "rslora"]))]
    pub scaling: Scaling,
    /// Layers with an adapter: names or their endings (c_attn, attn.c_proj, q, score …), or a
    /// pattern of names (re:h\.\d\..*)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "all-linear")]
    pub target_modules: Vec<String>,
    /// Ranks of individual layers, by name or pattern: c_attn=8,h\.0\..*=4
    #[arg(long, value_name = "NAME=N,…", value_delimiter = ',')]
    pub rank_pattern: Vec<String>,
    /// Alphas of individual layers, by name or pattern
    #[arg(long, value_name = "NAME=X,…", value_delimiter = ',')]
    pub alpha_pattern: Vec<String>,
    /// Dropout probability on the adapter input
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub lora_dropout: f64,
    /// Train magnitude and direction of each weight separately (DoRA)
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_value_t = false, default_missing_value = "true")]
    pub dora: bool,
    /// Initialization of the adapters: Kaiming uniform, or the principal singular vectors of
    /// the weights (PiSSA)
    #[arg(long, default_value = "kaiming", value_parser = choice::<Init>(&["kaiming", "pissa"]))]
    pub init: Init,
    /// Training of the classification head
    #[arg(long, value_enum, default_value_t)]
    pub head: Head,
    /// Learning rate of each B relative to A (LoRA+)
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub lora_plus_ratio: f64,
}

/// The training loop.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Training")]
#[serde(rename_all = "kebab-case", default)]
pub struct TrainingSettings {
    /// Learning rate
    #[arg(long, value_name = "X", default_value_t = 5e-5)]
    pub lr: f64,
    /// Learning-rate schedule after the warmup
    #[arg(long, value_enum, default_value_t)]
    pub schedule: Decay,
    /// Final learning rate of a decaying schedule, relative to --lr
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub min_lr_ratio: f64,
    /// Steps of linear warmup
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub warmup_steps: usize,
    /// Weight decay of AdamW
    #[arg(long, value_name = "X", default_value_t = 0.1)]
    pub weight_decay: f64,
    /// Parameters that weight decay applies to
    #[arg(long, value_enum, default_value_t)]
    pub weight_decay_on: WeightDecayOn,
    /// Decay rate of AdamW's second moment
    #[arg(long, value_name = "X", default_value_t = 0.999)]
    pub beta2: f64,
    /// Gradient clipping: maximum norm over all parameters [default: none]
    #[arg(long, value_name = "X")]
    pub max_grad_norm: Option<f64>,
    /// Stop at the first NaN or infinite gradient and name its parameter
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_value_t = false, default_missing_value = "true")]
    pub detect_anomaly: bool,
    /// Passes over the training set
    #[arg(long, value_name = "X", default_value_t = 5.0)]
    pub epochs: f64,
    /// Optimizer steps [default: from --epochs]
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    pub steps: Option<usize>,
    /// Examples per batch
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub batch_size: usize,
    /// Batches accumulated per optimizer step; the gradient equals the gradient of one large
    /// batch. Examples of an epoch that do not fill a step are dropped
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub gradient_accumulation_steps: usize,
    /// All-reduce algorithm of the gradients of micro-batches and processes
    #[arg(long, value_enum, default_value_t, help_heading = "Distributed training")]
    pub reduce: Reduce,
    /// Class weights in the training loss: none, balanced (inverse frequency), or
    /// LABEL=WEIGHT,…. Weights set the default of --balance to none
    #[arg(long, value_name = "WEIGHTS", default_value = "none")]
    pub class_weights: ClassWeights,
    /// Steps between evaluations of training and validation loss
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub eval_every: usize,
    /// Batches of each set per evaluation
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub eval_batches: usize,
    /// Early stopping: patience in epochs without a lower validation loss [default: never]
    #[arg(long, value_name = "N")]
    pub early_stopping: Option<usize>,
    /// Epoch whose parameters are saved
    #[arg(long, value_enum, default_value_t)]
    pub keep: Keep,
    /// Seed of the split, the head, the adapters and the order of examples
    #[arg(long, value_name = "N", default_value_t = 123)]
    pub seed: u32,
    /// Repeat the run with each of two or more seeds on one split (--split-seed, default 123),
    /// and report mean and standard deviation
    #[arg(long, value_name = "N,…", value_delimiter = ',', conflicts_with = "seed")]
    pub seeds: Vec<u32>,
    /// Token whose hidden state is classified: the last position of the padded sequence, or
    /// the last real token [with --recipe book: last-position]
    #[arg(long, default_value = "last-token",
          value_parser = choice::<Pooling>(&["last-position", "last-token"]))]
    pub pooling: Pooling,
    /// Padding of a batch [default: none; with stepwise arithmetic: longest; with
    /// last-position pooling: max-length]
    #[arg(long, value_parser = choice::<PadTo>(&["none", "longest", "max-length"]))]
    pub pad_to: Option<PadTo>,
    /// Recompute activations in the backward pass: less memory for long sequences, up to
    /// 50 % more time
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_value_t = false, default_missing_value = "true")]
    pub gradient_checkpointing: bool,
    /// Sampled softmax of a language model: tokens in the softmax of a training step, half of
    /// them the most frequent ones, the others its targets and a random sample [default: all]
    #[arg(long, value_name = "N")]
    pub softmax_candidates: Option<usize>,
    /// Generate a text with the language model every N steps [default: never]
    #[arg(long, value_name = "N")]
    pub sample_every: Option<usize>,
    /// Prompt of a generated text, repeatable [default: the prompts of the first 3 validation
    /// examples; for texts without a prompt, the beginning of a text]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true,
          value_parser = NonEmptyStringValueParser::new())]
    pub sample_prompt: Vec<String>,
}

/// Device, precision and threads.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Machine")]
#[serde(rename_all = "kebab-case", default)]
pub struct MachineSettings {
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// Arithmetic: the project's CPU kernels, libtorch's fused operations, or stepwise operations,
    /// which round like the book's program [default: kernels where they are supported and
    /// faster, else fused; with --recipe book: stepwise]
    #[arg(long, value_parser = choice::<Arithmetic>(&["kernels", "fused", "stepwise"]))]
    pub arithmetic: Option<Arithmetic>,
    /// Data type of frozen parameters and of matrix products; trainable parameters and optimizer
    /// state stay float32. float16 requires CUDA
    #[arg(long, default_value = "float32",
          value_parser = choice::<DType>(&["float32", "bfloat16", "float16"]))]
    pub dtype: DType,
    /// CPU threads [default: one per core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Checkpoints and logs.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Output")]
#[serde(rename_all = "kebab-case", default)]
pub struct OutputSettings {
    /// Write a checkpoint every N steps, in addition to the end of each epoch
    #[arg(long, value_name = "N")]
    pub checkpoint_every: Option<usize>,
    /// Checkpoints kept until the run is finished
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub keep_checkpoints: usize,
    /// Write TensorBoard event files into tensorboard/ of the run directory
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_value_t = false, default_missing_value = "true")]
    pub tensorboard: bool,
    /// Data type of a saved model
    #[arg(long, default_value = "float32",
          value_parser = choice::<DType>(&["float32", "bfloat16", "float16"]))]
    pub save_dtype: DType,
}

/// Class balancing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Drop examples so that every class is as large as the smallest
    #[default]
    Undersample,
    /// Keep all examples
    None,
}

/// Treatment of a text longer than the model's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OnLongText {
    /// Use the first tokens
    #[default]
    Truncate,
    /// Stop and name the text
    Error,
}

/// Tokens in the loss of a language model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LossOn {
    /// Completions, and the answers of the assistant
    #[default]
    Completions,
    /// All tokens, prompts included
    All,
}

/// Padding of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PadTo {
    /// To the maximum length, the same for every batch.
    MaxLength,
    /// To the longest example of the batch.
    Longest,
    /// No padding: examples are packed end to end.
    None,
}

/// Extensions of files that are read as tables of examples for a language model.
const TABLE_EXTENSIONS: [&str; 6] = ["csv", "json", "jsonl", "ndjson", "parquet", "tsv"];

/// Returns whether a file name has the extension of a table, which may be compressed.
pub(crate) fn has_table_extension(path: &Path) -> bool {
    let is_compressed = path.extension().is_some_and(|it| it == "gz" || it == "zst");
    let name = if is_compressed { path.with_extension("") } else { path.to_owned() };
    let extension = name.extension().unwrap_or_default().to_ascii_lowercase();
    TABLE_EXTENSIONS.iter().any(|it| extension == *it)
}

/// Parser of a command-line value by its name in serde.
fn choice<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    names: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names)
        .try_map(|name| serde_json::from_value::<T>(Value::String(name)))
}

/// Defaults declared by the attributes of the fields.
fn declared_defaults<T: Args>() -> T {
    let command = T::augment_args(Command::new("defaults").no_binary_name(true));
    let parsed = command.try_get_matches_from(Vec::<String>::new());
    parsed
        .and_then(|mut matches: ArgMatches| T::from_arg_matches_mut(&mut matches))
        .unwrap_or_else(|error| error.exit())
}

macro_rules! default_as_declared {
    ($($settings:ty),*) => {
        $(impl Default for $settings {
            fn default() -> Self {
                static DEFAULT: OnceLock<$settings> = OnceLock::new();
                DEFAULT.get_or_init(declared_defaults).clone()
            }
        })*
    };
}

default_as_declared!(
    Settings,
    DataSettings,
    AdapterSettings,
    TrainingSettings,
    MachineSettings,
    OutputSettings
);

impl DataSettings {
    /// Returns whether a language model is trained on tables of examples instead of plain text:
    /// the format is given, or every file has the extension of a table.
    pub fn has_tables(&self) -> bool {
        let are_tables = || self.data.iter().all(|path| has_table_extension(path));
        self.format.is_some() || !self.data.is_empty() && are_tables()
    }

    /// Options of reading tables.
    pub fn table_options(&self) -> TableOptions {
        TableOptions {
            columns: Columns { text: self.text_column.clone(), label: self.label_column.clone() },
            format: self.format,
            separator: self.separator,
            quote_char: self.quote_char,
            no_header: self.no_header,
            encoding: self.encoding,
        }
    }
}

impl AdapterSettings {
    /// Adapter described by these settings.
    ///
    /// # Errors
    /// [`SettingsError::Pair`](crate::config::SettingsError::Pair),
    /// [`SettingsError::MixedTargetModules`](crate::config::SettingsError::MixedTargetModules).
    pub fn lora(&self) -> Result<LoraConfig> {
        Ok(LoraConfig {
            rank: self.rank,
            alpha: self.alpha,
            scaling: self.scaling,
            targets: targets(&self.target_modules)?,
            rank_pattern: pattern("rank-pattern", &self.rank_pattern)?,
            alpha_pattern: pattern("alpha-pattern", &self.alpha_pattern)?,
            dropout: self.lora_dropout,
            dora: self.dora,
            init: self.init,
        })
    }

    /// Sets the settings that describe an adapter.
    pub(crate) fn set_lora(&mut self, config: &LoraConfig) {
        self.rank = config.rank;
        self.alpha = config.alpha;
        self.scaling = config.scaling;
        self.target_modules = names_of(&config.targets);
        self.rank_pattern = pairs(&config.rank_pattern);
        self.alpha_pattern = pairs(&config.alpha_pattern);
        self.lora_dropout = config.dropout;
        self.dora = config.dora;
        self.init = config.init;
    }
}

impl TrainingSettings {
    /// Settings of the optimizer.
    pub fn adamw(&self) -> AdamWConfig {
        let Self { lr, weight_decay, beta2, .. } = *self;
        AdamWConfig { lr, weight_decay, beta2, ..AdamWConfig::default() }
    }

    /// Examples per optimizer step.
    pub fn examples_per_step(&self) -> usize {
        self.batch_size.saturating_mul(self.gradient_accumulation_steps)
    }

    /// Padding; if not set, it follows from pooling, because only pooling at the last real token
    /// is independent of padding.
    pub fn padding(&self) -> PadTo {
        self.pad_to.unwrap_or(match self.pooling {
            Pooling::LastPosition => PadTo::MaxLength,
            Pooling::LastToken => PadTo::None,
        })
    }
}
