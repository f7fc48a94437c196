//! Errors of settings, and of the models and data that they name.

use std::{fmt, ops::RangeInclusive, path::PathBuf};

use gpt2_model::Gpt2Config;

use crate::label_list::quoted;

/// Class weights with which a loss in float32 neither vanishes nor overflows.
pub const CLASS_WEIGHTS: RangeInclusive<f64> = 1e-6..=1e6;

/// A setting, or a combination of settings, that a run cannot have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A number outside its range.
    #[error("--{option}: expected {expected}, got {value}")]
    OutOfRange {
        /// Name of the option.
        option: String,
        /// Its range.
        expected: Range,
        /// The number.
        value: String,
    },
    /// A line of a file of settings.
    #[error("{}, line {line}: {problem}; train --help lists the options", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The problem.
        problem: EntryError,
    },
    /// Settings that a model suggests for its fine-tuning (`fine_tuning.json`).
    #[error("{}: {problem}; correct the file or remove it", path.display())]
    ModelDefaults {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: EntryError,
    },
    /// A value that a program has set.
    #[error("{0}")]
    Entry(EntryError),
    /// A file name that `run.toml` cannot hold.
    #[error("{}: the file name is not UTF-8 and cannot be stored in run.toml; rename the file", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// A setting without effect in this run.
    #[error("--{option}: has no effect here, requires {requires}; leave it out")]
    NoEffect {
        /// Name of the option.
        option: String,
        /// Options that it requires.
        requires: &'static str,
    },
    /// Settings that exclude or require each other.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A setting that a continued adapter decides.
    #[error(
        "--{option}: expected {expected} as in the adapter that is continued, got {value}; leave it out"
    )]
    ContinuedAdapter {
        /// Name of the option.
        option: String,
        /// Value of the adapter, as JSON.
        expected: String,
        /// The value that is set, as JSON.
        value: String,
    },
    /// An element of a list that is not `NAME=VALUE`.
    #[error("--{option}: expected NAME=VALUE, for example c_attn=8, got {pair:?}")]
    Pair {
        /// Name of the option.
        option: &'static str,
        /// The element.
        pair: String,
    },
    /// Names of target modules beside a pattern.
    #[error("--target-modules: expected names or one pattern (re:…), got both")]
    MixedTargetModules,
    /// Target modules of which only the head is one: PEFT has no adapter for that.
    #[error(
        "--target-modules: expected layers besides the head {head}; train the head alone with --train head"
    )]
    OnlyHead {
        /// Name of the head's layer.
        head: String,
    },
    /// `--seeds` with a single seed, which has no standard deviation.
    #[error("--seeds: expected two or more seeds, got {seeds:?}; use --seed for a single run")]
    TooFewSeeds {
        /// The seeds.
        seeds: Vec<u32>,
    },
    /// A seed that `--seeds` names twice.
    #[error("--seeds: {seed} is repeated; give each seed once")]
    RepeatedSeed {
        /// The seed.
        seed: u32,
    },
    /// A class weight of a label that the data does not have.
    #[error("--class-weights: unknown label {label:?}, expected {}", quoted(labels))]
    UnknownLabel {
        /// The label.
        label: String,
        /// Labels of the data.
        labels: Vec<String>,
    },
    /// A label with two class weights.
    #[error("--class-weights: the label {label:?} is repeated; give each label once")]
    RepeatedLabel {
        /// The label.
        label: String,
    },
    /// A class weight outside its range.
    #[error(
        "--class-weights: expected a number from {} to {} for {label:?}, got {weight}",
        CLASS_WEIGHTS.start(), CLASS_WEIGHTS.end()
    )]
    ClassWeight {
        /// The label.
        label: String,
        /// Its weight.
        weight: f64,
    },
    /// A maximum sequence length beyond the context of the model.
    #[error(
        "--max-length: expected at most {context}, the model's context (n_positions), got {value}"
    )]
    LongerThanContext {
        /// The maximum length in tokens.
        value: usize,
        /// Context of the model in tokens.
        context: usize,
    },
    /// A sampled softmax as large as the vocabulary.
    #[error(
        "--softmax-candidates: expected fewer than the model's {vocabulary} tokens (vocab_size), got {value}; leave it out for the full softmax"
    )]
    TooManyCandidates {
        /// Tokens of the sampled softmax.
        value: usize,
        /// Tokens of the vocabulary.
        vocabulary: usize,
    },
    /// A prompt of a generated text that has no tokens or fills the context.
    #[error(
        "--sample-prompt: expected at least 1 token and fewer than the model's context of {context}, got {tokens}; give another prompt"
    )]
    SamplePrompt {
        /// Tokens of the prompt.
        tokens: usize,
        /// Context of the model in tokens.
        context: usize,
    },
    /// A model without all tokens of its tokenizer.
    #[error("{}: expected a vocab_size of at least {expected}, the tokens of the model's tokenizer, got {vocab_size}; choose another --model", path.display())]
    Vocabulary {
        /// `config.json` of the model.
        path: PathBuf,
        /// Tokens of the model.
        vocab_size: i64,
        /// Tokens of the tokenizer.
        expected: i64,
    },
}

/// A value of a file of settings, or the file itself.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The file is not valid TOML or JSON.
    #[error("{}", storage::terminal_safe(.0))]
    Syntax(String),
    /// No option has this name, or the file must not set it.
    #[error("unknown option `{}`", storage::terminal_safe(option))]
    Unknown {
        /// The name.
        option: String,
    },
    /// NaN or infinite.
    #[error("{option}: expected {}, got NaN or infinity", Range::Finite)]
    NotFinite {
        /// Name of the option.
        option: String,
    },
    /// An empty list.
    #[error(
        "{option}: expected at least one value, got an empty list; leave it out for the default"
    )]
    Empty {
        /// Name of the option.
        option: String,
    },
    /// A value of the wrong type.
    #[error("{option}: {}", storage::terminal_safe(reason))]
    Invalid {
        /// Name of the option.
        option: String,
        /// The message of the parser.
        reason: String,
    },
}

/// Range of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Range {
    /// An integer from 1 to a maximum.
    Count(usize),
    /// Not NaN, not infinite.
    Finite,
    /// Finite and above 0.
    Positive,
    /// Finite and at least 0.
    NonNegative,
    /// A number from 0 to 1, inclusive.
    Fraction,
    /// Above 0 and below 1.
    OpenFraction,
    /// At least 0 and below 1.
    BelowOne,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(max) => write!(f, "an integer from 1 to {max}"),
            Self::Finite => f.write_str("a finite number"),
            Self::Positive => f.write_str("a positive number"),
            Self::NonNegative => f.write_str("zero or a positive number"),
            Self::Fraction => f.write_str("a number from 0 to 1"),
            Self::OpenFraction => f.write_str("a number above 0 and below 1"),
            Self::BelowOne => f.write_str("a number from 0 to below 1"),
        }
    }
}

/// Settings that exclude or require each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// A seed and a list of seeds.
    #[error("seed and seeds: both are set; leave one of them out")]
    SeedAndSeeds,
    /// Stepwise arithmetic without padding.
    #[error(
        "--arithmetic stepwise: requires sequences of one length; use --pad-to longest or max-length"
    )]
    StepwiseWithoutPadding,
    /// Stepwise arithmetic in fewer bits.
    #[error(
        "--arithmetic stepwise: requires --dtype float32, which the book's program computes in"
    )]
    StepwiseDType,
    /// Stepwise arithmetic for a language model, whose batches are packed.
    #[error(
        "--arithmetic stepwise (also of --recipe book): requires --task classify; use --arithmetic fused"
    )]
    StepwiseLanguageModel,
    /// Tables of examples beside plain text.
    #[error(
        "--data: {} is a table and {} is plain text; give files of one kind, or --format if all are tables", table.display(), text.display()
    )]
    MixedData {
        /// The table.
        table: PathBuf,
        /// The plain text.
        text: PathBuf,
    },
    /// CPU kernels for trained base weights of a language model, whose head is the embedding.
    #[error(
        "--arithmetic kernels: requires --train lora for a language model; use --arithmetic fused"
    )]
    KernelsLanguageModel,
    /// CPU kernels for trained base weights.
    #[error("--arithmetic kernels: requires --train lora or head; use --arithmetic fused")]
    KernelsTrain,
    /// CPU kernels for DoRA.
    #[error("--arithmetic kernels: excludes --dora; leave out one of them")]
    KernelsDora,
    /// CPU kernels for padded batches.
    #[error("--arithmetic kernels: requires batches without padding; use --pad-to none")]
    KernelsPadding,
    /// CPU kernels with gradient checkpointing.
    #[error("--arithmetic kernels: excludes --gradient-checkpointing; leave out one of them")]
    KernelsCheckpointing,
    /// CPU kernels for a head that is trained in mixed precision.
    #[error(
        "--arithmetic kernels: requires --dtype float32 with --train head; use --arithmetic fused"
    )]
    KernelsMixedPrecision,
    /// CPU kernels in float16.
    #[error("--arithmetic kernels: requires --dtype float32 or bfloat16")]
    KernelsDType,
    /// A validation set beside a test set that is split off.
    #[error("--validation-data: requires --test-data; give both, or let --data be split")]
    ValidationWithoutTest,
    /// PiSSA in fewer bits.
    #[error(
        "--init pissa: requires --dtype float32, because it decomposes the weights; leave out one of them"
    )]
    PissaDType,
    /// Dropout in blocks that are computed twice.
    #[error(
        "--gradient-checkpointing: excludes --lora-dropout, whose mask would differ in the recomputation; leave out one of them"
    )]
    CheckpointingDropout,
    /// Gradient checkpointing of padded batches.
    #[error("--gradient-checkpointing: requires batches without padding; use --pad-to none")]
    CheckpointingPadding,
    /// Pooling at the last position of sequences of different lengths.
    #[error("--pooling last-position: requires sequences of one length; use --pad-to max-length")]
    PoolingPadding,
    /// Several seeds on data that can be read once.
    #[error("{}: can be read only once, and --seeds reads the data for every seed; give a file", path.display())]
    SeedsOfPipe {
        /// Standard input or a pipe.
        path: PathBuf,
    },
}

/// A model or data that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotFoundError {
    /// A directory of the Hugging Face cache without a snapshot.
    #[error("{}: this directory of the Hugging Face cache has no snapshot; download the model again", directory.display())]
    Snapshot {
        /// The directory, `models--OWNER--NAME`.
        directory: PathBuf,
    },
    /// A directory of the Hugging Face cache with several snapshots, none of which is main.
    #[error("{0}: expected one snapshot in this directory of the Hugging Face cache, got {snapshots}; give one of those in {0}/snapshots", directory.display())]
    ManySnapshots {
        /// The directory, `models--OWNER--NAME`.
        directory: PathBuf,
        /// Number of snapshots.
        snapshots: usize,
    },
    /// A published model that was not downloaded.
    #[error("{}: {file} is missing; fetch it with `cargo xtask fetch-weights {model}`, or try the small model that ships with the project, --model pocket", directory.display())]
    PublishedModel {
        /// Directory of the model.
        directory: PathBuf,
        /// File that is missing.
        file: &'static str,
        /// Name of the model.
        model: String,
    },
    /// A checkpoint of the Hugging Face Hub that was not fetched.
    #[error("{repository}: there is no such directory, and {file} is missing in {}; fetch it with `cargo xtask fetch-weights {repository}`, or give --model another directory", directory.display())]
    HubModel {
        /// Its name on the hub, `OWNER/NAME`.
        repository: String,
        /// Directory of the fetched checkpoint, `weights/OWNER--NAME`.
        directory: PathBuf,
        /// File that is missing.
        file: &'static str,
    },
    /// An adapter in the place of a model.
    #[error("{}: it is an adapter, not a model; merge it into its base model with `gpt2-lora merge` and give --model the result", directory.display())]
    Adapter {
        /// The directory.
        directory: PathBuf,
    },
    /// A directory that is not a model.
    #[error("{}: {file} is missing; give --model a directory in the Hugging Face layout of GPT-2, or a name: pocket, {}", directory.display(), Gpt2Config::NAMES.join(", "))]
    Model {
        /// Directory of the model.
        directory: PathBuf,
        /// File that is missing.
        file: &'static str,
    },
    /// A data file that does not exist.
    #[error("{}: does not exist; give --data (or --validation-data, --test-data) a file of text", path.display())]
    Data {
        /// The path.
        path: PathBuf,
    },
    /// A directory or a device in the place of a data file.
    #[error("{}: not a file; give --data (or --validation-data, --test-data) a file of text, or --format (jsonl, csv, tsv or parquet) for a table from a pipe or tables in a directory", path.display())]
    DataNotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The default dataset was not downloaded.
    #[error("{}: does not exist; fetch it with `cargo xtask fetch-dataset`, or give --data FILE", path.display())]
    DefaultData {
        /// The path.
        path: PathBuf,
    },
}
