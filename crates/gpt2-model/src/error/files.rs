//! Problems of the files of a model.

use safetensors::Dtype;
use storage::terminal_safe;

use crate::dtype::DType;

/// Problem of a weight file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatProblem {
    /// The file is damaged, or not a file of tensors.
    #[error(transparent)]
    File(#[from] tensor_files::FormatProblem),
    /// A tensor with a NaN or infinite value.
    #[error("{} has a NaN or infinite value; fetch the file again", terminal_safe(tensor))]
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
    /// A tensor of a classification head besides its weight.
    #[error("{} is not a tensor of GPT-2's classification head", terminal_safe(tensor))]
    UnknownHeadTensor {
        /// Name of the tensor.
        tensor: String,
    },
    /// A classification head of another shape.
    #[error("score.weight has shape {shape:?}, expected [classes, {width}]")]
    HeadShape {
        /// Its shape.
        shape: Vec<usize>,
        /// Width of the model.
        width: i64,
    },
    /// A tensor to be written in a number format that cannot represent it.
    #[error("{} has a value outside the range of {dtype}", terminal_safe(tensor))]
    OutOfRange {
        /// Name of the tensor.
        tensor: String,
        /// Number format of the file.
        dtype: DType,
    },
    /// A file that cannot be serialized.
    #[error("cannot be serialized: {}", terminal_safe(reason))]
    Serialize {
        /// Message of the serializer.
        reason: String,
    },
}
