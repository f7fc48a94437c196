//! Problems of adapter files.

use safetensors::Dtype;
use storage::terminal_safe;

use super::SettingProblem;

/// Problem of a file of an adapter.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatProblem {
    /// The file is damaged, or not a file of tensors.
    #[error(transparent)]
    File(#[from] tensor_files::FormatProblem),
    /// The settings are not the settings of a LoRA or DoRA adapter of PEFT.
    #[error(transparent)]
    Settings(#[from] PeftSettingsProblem),
    /// A setting is invalid.
    #[error("{}: {problem}", terminal_safe(setting))]
    Setting {
        /// Name of the setting.
        setting: String,
        /// The problem.
        problem: SettingProblem,
    },
    /// A tensor with a NaN or infinite value.
    #[error("{} has a NaN or infinite value; copy it again", terminal_safe(tensor))]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor in an unsupported number format.
    #[error("{} has dtype {dtype:?}, expected F32, F16 or BF16", terminal_safe(tensor))]
    DType {
        /// Name of the tensor.
        tensor: String,
        /// Its number format.
        dtype: Dtype,
    },
    /// A tensor of a module that the others require.
    #[error("{} is missing", terminal_safe(tensor))]
    Missing {
        /// Name of the tensor.
        tensor: String,
    },
    /// An `A` that does not fit the rank.
    #[error(
        "{}.lora_A.weight has shape {shape:?}, expected [{rank}, in] for the rank in the \
         configuration",
        terminal_safe(module)
    )]
    ShapeOfA {
        /// The module.
        module: String,
        /// Shape of the tensor.
        shape: Vec<i64>,
        /// Rank of the module.
        rank: i64,
    },
    /// A `B` that does not fit the rank.
    #[error("{}.lora_B.weight has shape {shape:?}, expected [out, {rank}]", terminal_safe(module))]
    ShapeOfB {
        /// The module.
        module: String,
        /// Shape of the tensor.
        shape: Vec<i64>,
        /// Rank of the module.
        rank: i64,
    },
    /// Magnitudes that do not fit `B`.
    #[error(
        "{}.lora_magnitude_vector has shape {shape:?}, expected [{out}]",
        terminal_safe(module)
    )]
    ShapeOfMagnitude {
        /// The module.
        module: String,
        /// Shape of the tensor.
        shape: Vec<i64>,
        /// Outputs of the module.
        out: i64,
    },
    /// Magnitudes in an adapter without DoRA.
    #[error(
        "{}.lora_magnitude_vector is for DoRA, which the configuration does not use (use_dora)",
        terminal_safe(module)
    )]
    UnusedMagnitude {
        /// The module.
        module: String,
    },
    /// A tensor of another method than LoRA on linear layers.
    #[error("{} does not belong to an adapter on a linear layer", terminal_safe(tensor))]
    ForeignTensor {
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor that the file has twice, under different spellings of its name.
    #[error("{} is stored under two names", terminal_safe(tensor))]
    Twice {
        /// Name of the tensor.
        tensor: String,
    },
    /// Two modules with the same name in the model.
    #[error("{} is the name of two modules", terminal_safe(module))]
    TwoModules {
        /// The module.
        module: String,
    },
    /// A module with an adapter and a weight that was trained as a whole.
    #[error("{} has an adapter and a whole weight", terminal_safe(module))]
    AdapterAndWeight {
        /// The module.
        module: String,
    },
    /// Several adapters in one file.
    #[error(
        "holds several adapters ({}); save one of them alone",
        terminal_safe(&super::first(names.iter().cloned(), 12, ", ", ""))
    )]
    SeveralAdapters {
        /// Names of the adapters.
        names: Vec<String>,
    },
    /// A file without an adapter.
    #[error("holds no adapter: expected tensors called lora_A and lora_B")]
    NoAdapter,
    /// A file that cannot be serialized.
    #[error("cannot be serialized: {}", terminal_safe(reason))]
    Serialize {
        /// Message of the serializer.
        reason: String,
    },
}

/// Problem of an `adapter_config.json` of PEFT.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeftSettingsProblem {
    /// Damaged JSON, or a setting that is missing or of a wrong type.
    #[error("not an adapter configuration of PEFT: {}", terminal_safe(reason))]
    Json {
        /// Message of the parser.
        reason: String,
    },
    /// A file without `peft_type`.
    #[error("peft_type is missing, so PEFT did not write the file")]
    NoPeftType,
    /// Another method than LoRA.
    #[error("peft_type: expected \"LORA\", got {}", terminal_safe(peft_type))]
    PeftType {
        /// The method, as JSON.
        peft_type: String,
    },
    /// A setting that may change the computation.
    #[error("{} = {}: an unsupported computation", terminal_safe(setting), terminal_safe(value))]
    Unsupported {
        /// Name of the setting.
        setting: String,
        /// Its value, as JSON.
        value: String,
    },
    /// Trained biases of the base model.
    #[error(
        "bias: expected \"none\", got \"{}\"; trained biases of the base model are not supported",
        terminal_safe(bias)
    )]
    Bias {
        /// The setting.
        bias: String,
    },
    /// An initialization that changes the base model.
    #[error(
        "init_lora_weights: {} changed the base model of the adapter; save it in PEFT with \
         path_initial_model_for_weight_conversion",
        terminal_safe(init)
    )]
    Initialization {
        /// The initialization, as JSON.
        init: String,
    },
    /// A rank below 1.
    #[error("{}: expected a rank of at least 1, got {rank}", terminal_safe(setting))]
    Rank {
        /// `r`, or `rank_pattern` with its key.
        setting: String,
        /// The rank.
        rank: i64,
    },
    /// A dropout that is not a probability, or drops everything.
    #[error("lora_dropout: expected a probability of at least 0 and below 1, got {0}")]
    Dropout(f64),
    /// A pattern that is not a regular expression.
    #[error("{setting}: {problem}")]
    Pattern {
        /// `rank_pattern` or `alpha_pattern`.
        setting: &'static str,
        /// The problem.
        problem: SettingProblem,
    },
}

/// Tensor of an adapter that does not fit a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The tensor is missing.
    #[error("{} is missing", terminal_safe(name))]
    Missing {
        /// Name of the tensor.
        name: String,
    },
    /// The tensor has another shape.
    #[error("{} has shape {shape:?}, expected {expected:?}", terminal_safe(name))]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape that fits the model.
        expected: Vec<i64>,
        /// Its shape.
        shape: Vec<i64>,
    },
    /// No layer of the model has the tensor.
    #[error("{} does not belong to any layer", terminal_safe(name))]
    Unused {
        /// Name of the tensor.
        name: String,
    },
    /// A module has an adapter and a weight that was trained as a whole.
    #[error("{} has an adapter and a whole weight", terminal_safe(module))]
    AdapterAndWeight {
        /// The module.
        module: String,
    },
    /// No layer has an adapter.
    #[error("no layer has an adapter")]
    NoAdapter,
}
