//! Number formats of weights.

use std::{fmt, str::FromStr};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use tch::Kind;

/// Number format of weights, in memory ([`Gpt2::with_dtype`](crate::Gpt2::with_dtype))
/// or in a file ([`Gpt2::save`](crate::Gpt2::save)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DType {
    /// 24 bits of precision, the format of all computations outside linear layers.
    #[default]
    Float32,
    /// 8 bits of precision and the range of float32.
    Bfloat16,
    /// 11 bits of precision and a small range: gradients need loss scaling.
    Float16,
}

impl DType {
    /// Every number format.
    pub const ALL: [Self; 3] = [Self::Float32, Self::Bfloat16, Self::Float16];

    /// Name in libtorch.
    pub fn kind(self) -> Kind {
        match self {
            Self::Float32 => Kind::Float,
            Self::Bfloat16 => Kind::BFloat16,
            Self::Float16 => Kind::Half,
        }
    }

    /// Name in a safetensors file.
    pub(crate) fn stored(self) -> Dtype {
        match self {
            Self::Float32 => Dtype::F32,
            Self::Bfloat16 => Dtype::BF16,
            Self::Float16 => Dtype::F16,
        }
    }

    /// Returns whether the loss has to be scaled to keep its gradients within the range
    /// of this format (Micikevicius et al. 2018, *Mixed Precision Training*,
    /// section 3.2).
    pub fn scales_loss(self) -> bool {
        self == Self::Float16
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float32 => "float32",
            Self::Bfloat16 => "bfloat16",
            Self::Float16 => "float16",
        })
    }
}

impl FromStr for DType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|dtype| dtype.to_string() == text);
        found.ok_or_else(|| format!("\"{text}\" is not float32, bfloat16 or float16"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for dtype in DType::ALL {
            assert_eq!(dtype.to_string().parse(), Ok(dtype));
            assert_eq!(serde_json::to_value(dtype).unwrap(), dtype.to_string());
        }
        assert!("float64".parse::<DType>().unwrap_err().contains("\"float64\""));
    }
}
