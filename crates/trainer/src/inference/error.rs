//! Errors of saved adapters and models.

use std::path::PathBuf;

use crate::label_list::quoted;

/// A saved adapter or model that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// An adapter that does not exist.
    #[error("{}: does not exist; give --adapter the directory adapter of a run", directory.display())]
    Missing {
        /// The directory.
        directory: PathBuf,
    },
    /// A file in the place of the directory of an adapter.
    #[error("{}: expected a directory, got a file; give --adapter the directory adapter of a run", path.display())]
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// A directory without an adapter and without a complete model.
    #[error("{}: expected an adapter, but there is no adapter_config.json; {advice}", directory.display())]
    NotAnAdapter {
        /// The directory.
        directory: PathBuf,
        /// Remedy, which depends on the contents of the directory.
        advice: String,
    },
    /// A complete model where an adapter is expected.
    #[error("{}: expected an adapter, got a complete model; {advice}", directory.display())]
    CompleteModel {
        /// The directory.
        directory: PathBuf,
        /// Remedy, which depends on the command.
        advice: &'static str,
    },
    /// An adapter of PEFT for another task.
    #[error("{}: task_type: expected SEQ_CLS or CAUSAL_LM, got {task_type:?}", path.display())]
    TaskType {
        /// `adapter_config.json`.
        path: PathBuf,
        /// The task.
        task_type: String,
    },
    /// Invalid metadata.
    #[error("{}: invalid metadata of an adapter: {problem}", path.display())]
    Metadata {
        /// `gpt2_lora.json`.
        path: PathBuf,
        /// The problem.
        problem: MetadataProblem,
    },
    /// An invalid tensor.
    #[error("{}: {problem}", path.display())]
    Tensor {
        /// The weight file.
        path: PathBuf,
        /// The problem.
        problem: TensorProblem,
    },
    /// A base model where a classifier is expected.
    #[error("{}: expected a classifier, got a base model without a classification head (score.weight); give --adapter the directory adapter or model of a run", directory.display())]
    NoHead {
        /// The directory.
        directory: PathBuf,
    },
    /// An adapter without a head on a base model without one.
    #[error("{}: has no head (score.weight), and neither has the model {}; save the adapter with its head (in PEFT: modules_to_save=[\"score\"]), or give --model the classifier that it was trained on", path.display(), base.display())]
    NoHeadInBase {
        /// The weight file of the adapter.
        path: PathBuf,
        /// The base model.
        base: PathBuf,
    },
    /// An adapter for layers that the model does not have.
    #[error("{}: the adapter does not fit this model: {}; give --model its base model, or save the adapter again", directory.display(), storage::terminal_safe(reason))]
    Mismatch {
        /// The directory of the adapter.
        directory: PathBuf,
        /// The problem.
        reason: String,
    },
    /// An adapter that does not name its base model.
    #[error("{}: the adapter does not name its base model; give it with --model", directory.display())]
    UnnamedBase {
        /// The directory of the adapter.
        directory: PathBuf,
    },
    /// An adapter whose base model does not exist.
    #[error("{}: the base model {} of the adapter was not found ({reason}); give its directory with --model", directory.display(), storage::terminal_safe(base))]
    MissingBase {
        /// The directory of the adapter.
        directory: PathBuf,
        /// Name of the base model.
        base: String,
        /// Message of the search.
        reason: String,
    },
    /// An adapter with the weights of another base model.
    #[error("{}: expected a base model with the digest {}, got {} with the digest {given}; {advice}, or remove base_digest from {} to use the adapter on this model", directory.display(), storage::terminal_safe(expected), base.display(), metadata.display())]
    OtherBase {
        /// The directory of the adapter.
        directory: PathBuf,
        /// Digest of the weights that the adapter was trained on.
        expected: String,
        /// The base model.
        base: PathBuf,
        /// Digest of its weights.
        given: String,
        /// Remedy, which depends on the base model of the training.
        advice: String,
        /// The metadata of the adapter.
        metadata: PathBuf,
    },
    /// An adapter that was trained on tokens of another tokenizer.
    #[error("{}: expected a base model with {}, got {} with {}; give --model the directory of the model that the adapter was trained on, with its tokenizer files", directory.display(), tokenizer_name(expected.as_deref()), base.display(), tokenizer_name(given.as_deref()))]
    OtherTokenizer {
        /// The directory of the adapter.
        directory: PathBuf,
        /// Fingerprint of the tokenizer of the training; `None` for GPT-2's.
        expected: Option<String>,
        /// The base model.
        base: PathBuf,
        /// Fingerprint of its tokenizer.
        given: Option<String>,
    },
    /// `--labels` for an adapter that names its classes.
    #[error("{}: the adapter names its classes already: {}; leave out --labels", path.display(), quoted(labels))]
    LabelsKnown {
        /// `gpt2_lora.json`.
        path: PathBuf,
        /// The labels of the adapter.
        labels: Vec<String>,
    },
    /// `--labels` with an empty label.
    #[error("--labels: label {number} is empty; name every class once, in class order")]
    EmptyLabel {
        /// Number of the label, from 1.
        number: usize,
    },
    /// `--labels` with a repeated label.
    #[error("--labels: the label {} is repeated; name every class once, in class order", quoted(&[label]))]
    RepeatedLabel {
        /// The label.
        label: String,
    },
    /// `--labels` with a wrong number of labels.
    #[error("--labels: expected {classes} labels, the classes of the adapter in {}, got {labels}", directory.display())]
    LabelCount {
        /// The directory of the adapter.
        directory: PathBuf,
        /// Number of classes.
        classes: i64,
        /// Number of labels.
        labels: usize,
    },
    /// Data with other labels than the adapter that is continued.
    #[error("{}: expected data with the labels of the adapter, {}, got {}; continue it on data with the same labels", directory.display(), quoted(expected), quoted(given))]
    OtherLabels {
        /// The directory of the adapter.
        directory: PathBuf,
        /// Labels of the adapter.
        expected: Vec<String>,
        /// Labels of the data.
        given: Vec<String>,
    },
    /// A complete language model where a classifier is expected.
    #[error("{0}: expected a classifier, got a language model; generate text with the command generate --model {0}", directory.display())]
    LanguageModel {
        /// The directory.
        directory: PathBuf,
    },
    /// An adapter of a language model where a classifier is expected.
    #[error("{0}: expected a classifier, got the adapter of a language model; generate text with the command generate --adapter {0}, or continue its training with the command train --adapter {0}", directory.display())]
    LanguageModelAdapter {
        /// The directory.
        directory: PathBuf,
    },
    /// A classifier where a language model is expected.
    #[error("{0}: expected a language model, got a classifier; classify texts with the command predict --adapter {0}", directory.display())]
    Classifier {
        /// The directory.
        directory: PathBuf,
    },
    /// An unknown name in an [`AdapterSet`](crate::AdapterSet).
    #[error("unknown adapter {name:?}, expected one of {}", quoted(known))]
    UnknownName {
        /// The name.
        name: String,
        /// Known names.
        known: Vec<String>,
    },
    /// A bias that no final norm represents.
    #[error(
        "the bias of the head cannot be moved into the final norm, because the rows of the head are linearly dependent; train with --head full, whose head has no bias"
    )]
    HeadBias,
    /// A file of another program in the place of the results of an evaluation.
    #[error("{}: already exists and was not written by an evaluation; choose another --out", path.display())]
    ForeignEvaluation {
        /// The file.
        path: PathBuf,
    },
}

/// Why the metadata of an adapter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataProblem {
    /// Not the JSON of this program's metadata.
    #[error("{}", storage::terminal_safe(.0))]
    Json(String),
    /// Invalid settings of the adapter.
    #[error("{}", storage::terminal_safe(.0))]
    Lora(String),
    /// No labels.
    #[error("labels: expected one or more, got none")]
    NoLabels,
    /// Repeated labels.
    #[error("labels: expected distinct ones, got {}", quoted(.0))]
    RepeatedLabels(Vec<String>),
    /// A maximum length that the model does not have.
    #[error("max_length: expected 1 to {context}, the context of the model {}, got {value}", base.display())]
    MaxLength {
        /// Value of `max_length`, in tokens.
        value: usize,
        /// Context of the model in tokens.
        context: usize,
        /// The base model.
        base: PathBuf,
    },
}

/// Describes a tokenizer by its fingerprint.
fn tokenizer_name(fingerprint: Option<&str>) -> String {
    match fingerprint {
        Some(digits) => format!("the tokenizer {}", storage::terminal_safe(digits)),
        None => "GPT-2's tokenizer".to_owned(),
    }
}

/// Why a tensor of an adapter cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The bias of the head has another shape.
    #[error("expected a tensor {name} of shape [{classes}], one value per label")]
    HeadBias {
        /// Name of the tensor.
        name: &'static str,
        /// Number of labels.
        classes: i64,
    },
    /// The weight of the head has another shape.
    #[error(
        "{name} has shape {shape:?}, but the labels and the model {} need {expected:?}; give --model the model that the adapter was trained on",
        base.display()
    )]
    Head {
        /// Name of the tensor.
        name: &'static str,
        /// Its shape.
        shape: Vec<i64>,
        /// `[classes, n_embd]`.
        expected: [i64; 2],
        /// The base model.
        base: PathBuf,
    },
    /// The head has one logit.
    #[error(
        "{name} has shape {shape:?}: a head with a single logit, for regression or a sigmoid, is not supported"
    )]
    SingleLogit {
        /// Name of the tensor.
        name: &'static str,
        /// Its shape.
        shape: Vec<i64>,
    },
    /// A parameter does not belong to the model.
    #[error("{0}")]
    Parameter(String),
}
