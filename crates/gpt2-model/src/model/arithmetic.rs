//! Arithmetic of a model: fused operations, CPU kernels or stepwise operations.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Mapping of formulas to operations. The results differ in rounding only,
/// but training at a high learning rate amplifies rounding without limit: a run that
/// has to reproduce the numbers of another program has to round as it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arithmetic {
    /// Fused operations for attention, layer norm and GELU, and one matrix
    /// product for query, key and value.
    #[default]
    Fused,
    /// As [`Arithmetic::Fused`], but packed sequences of
    /// [`Gpt2Classifier::predict_packed`](crate::Gpt2Classifier::predict_packed) and
    /// [`Gpt2Classifier::backward_packed`](crate::Gpt2Classifier::backward_packed) are computed
    /// by the project's CPU kernels instead of libtorch. They need frozen weights and trainable
    /// low-rank terms, and their results do not depend on the number of threads.
    Kernels,
    /// One operation for each sign of a formula, in the order in which *Build a
    /// Large Language Model (From Scratch)* writes them, query, key and value
    /// apart: the bits of its PyTorch program on the same kernels.
    Stepwise,
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fused => "fused",
            Self::Kernels => "kernels",
            Self::Stepwise => "stepwise",
        })
    }
}
