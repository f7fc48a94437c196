//! Errors, each displayed as one sentence.

use safetensors::Dtype;
use storage::terminal_safe;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A `config.json` is not a usable GPT-2 configuration.
    #[error("{origin}: {problem}")]
    Config {
        /// The file, or `config` where it did not come from a file.
        origin: String,
        /// The problem.
        problem: ConfigProblem,
    },
    /// A weight file is damaged or of another format.
    #[error(transparent)]
    Files(#[from] tensor_files::Error),
}

/// Problem of a `config.json`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// The file is too large for settings.
    #[error("{reason}; fetch it again")]
    TooLarge {
        /// The limit.
        reason: String,
    },
    /// Damaged JSON, or a setting that is missing or of a wrong type.
    #[error("not a GPT-2 configuration: {}", terminal_safe(reason))]
    Json {
        /// Message of the parser.
        reason: String,
    },
    /// Settings that are not a JSON object.
    #[error("expected a JSON object of settings: {}", terminal_safe(reason))]
    Settings {
        /// Message of the parser.
        reason: String,
    },
    /// A special token that is not given by its number.
    #[error(
        "{name}: expected the id of a token{} or null, got {}; correct or remove it in the file",
        if *may_be_list { ", a list of ids" } else { "" }, terminal_safe(value)
    )]
    TokenId {
        /// Name of the setting.
        name: &'static str,
        /// True if several tokens may have this role.
        may_be_list: bool,
        /// Beginning of the value.
        value: String,
    },
    /// Another architecture.
    #[error("model_type: expected \"gpt2\", got \"{}\"", terminal_safe(model_type))]
    ModelType {
        /// The architecture.
        model_type: String,
    },
    /// A size outside its range.
    #[error("{name}: expected a whole number from 1 to {most}, got {value}")]
    Size {
        /// Name of the setting.
        name: &'static str,
        /// The size.
        value: i64,
        /// Largest size.
        most: i64,
    },
    /// Sizes that are too large together.
    #[error(
        "vocab_size, n_positions, n_embd, n_layer and n_inner: expected a model of {most} \
         parameters or fewer, got {parameters}"
    )]
    Parameters {
        /// Number of parameters.
        parameters: i128,
        /// Largest number.
        most: i128,
    },
    /// A width that the attention heads do not divide.
    #[error("n_embd: expected a multiple of n_head {n_head}, got {n_embd}")]
    Heads {
        /// Width of the hidden states.
        n_embd: i64,
        /// Number of attention heads.
        n_head: i64,
    },
    /// A layer norm without a positive ε.
    #[error("layer_norm_epsilon: expected a finite number above 0, got {0}")]
    Epsilon(f64),
    /// A classifier that gives each text several labels or a number.
    #[error(
        "problem_type: expected \"single_label_classification\", got \"{}\"",
        terminal_safe(problem_type)
    )]
    ProblemType {
        /// The kind of classification.
        problem_type: String,
    },
    /// Labels without class numbers.
    #[error("{name}: expected labels and their class numbers")]
    Labels {
        /// `id2label` or `label2id`.
        name: &'static str,
    },
    /// Class numbers that are not 0, 1, 2, …
    #[error("{name}: expected the classes 0, 1, 2, …, got gaps or repetitions")]
    MissingClasses {
        /// `id2label` or `label2id`.
        name: &'static str,
    },
}

/// Tensor that a configuration does not ask for, or asks for in another form.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The tensor is missing.
    #[error("{} is missing", terminal_safe(name))]
    Missing {
        /// Name of the tensor.
        name: String,
    },
    /// The tensor is not one of the model.
    #[error("{} is not a tensor of this model", terminal_safe(name))]
    Unknown {
        /// Name of the tensor.
        name: String,
    },
    /// The file has the tensor twice.
    #[error("{} is stored twice, under names with different prefixes", terminal_safe(name))]
    Twice {
        /// Name of the tensor.
        name: String,
    },
    /// The tensor has another shape.
    #[error("{} has shape {shape:?}, expected {expected:?}", terminal_safe(name))]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Its shape by the configuration.
        expected: Vec<i64>,
        /// Its shape in the file.
        shape: Vec<usize>,
    },
    /// An embedding has another number of rows than the vocabulary has tokens.
    #[error("{} has {rows} rows, expected {vocab_size} (vocab_size)", terminal_safe(name))]
    Vocabulary {
        /// Name of the tensor.
        name: String,
        /// Rows of the tensor.
        rows: usize,
        /// Tokens in the vocabulary.
        vocab_size: i64,
    },
    /// The tensor has an unsupported number format.
    #[error("{} has dtype {dtype:?}, expected F32, F16 or BF16", terminal_safe(name))]
    DType {
        /// Name of the tensor.
        name: String,
        /// Its number format.
        dtype: Dtype,
    },
    /// The language-model head is not the token embedding, as the configuration says.
    #[error(
        "lm_head.weight differs from wte.weight, but tie_word_embeddings is true; set it to false in \
         config.json for a head of its own"
    )]
    UntiedHead,
}

/// Joins the first three problems and counts the rest.
pub fn summary(problems: &[TensorProblem]) -> String {
    const MOST: usize = 3;
    let shown: Vec<String> = problems.iter().take(MOST).map(ToString::to_string).collect();
    let shown = shown.join("; ");
    match problems.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown}; and {more} more tensors"),
    }
}

#[cfg(test)]
mod tests;
