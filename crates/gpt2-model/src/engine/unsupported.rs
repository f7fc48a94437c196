//! Reasons for which a model is not computed by the CPU kernels.

use tch::{Device, Kind};

/// Reason for which a model cannot be computed by the CPU kernels.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// The model is not on the CPU.
    #[error("the model is on device {0:?}; the CPU kernels compute on the CPU")]
    Device(Device),
    /// The activation function has no kernel.
    #[error("the model's activation_function is relu; the CPU kernels have gelu_new and gelu")]
    Activation,
    /// A number format has no kernel.
    #[error("{layer} has weights of {kind:?}; the CPU kernels compute float32 and bfloat16")]
    Kind {
        /// The layer.
        layer: String,
        /// Number format of its weight.
        kind: Kind,
    },
    /// A layer is not a frozen product plus low-rank terms.
    #[error("{layer} is not a frozen linear layer with low-rank terms (DoRA, for example, is not)")]
    Layer {
        /// The layer.
        layer: String,
    },
    /// Parameters of the base model are trained.
    #[error("{parameter} of the base model is trained; the CPU kernels train low-rank terms")]
    Trained {
        /// The first such parameter.
        parameter: String,
    },
}
