//! How formulas become operations of libtorch.

use serde::{Deserialize, Serialize};

/// How formulas become operations of libtorch. The results differ in rounding
/// only, but a training run at a high learning rate makes rounding grow without
/// limit: one that is to give the numbers of another program has to round as it
/// does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arithmetic {
    /// Fused operations for attention, layer norm and GELU, and one matrix
    /// product for query, key and value. The fastest.
    #[default]
    Fused,
    /// One operation for each sign of a formula, in the order in which *Build a
    /// Large Language Model (From Scratch)* writes them, query, key and value
    /// apart: the bits of its PyTorch program on the same kernels.
    Stepwise,
}
