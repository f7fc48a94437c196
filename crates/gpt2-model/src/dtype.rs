//! What the frozen weights are kept and multiplied in.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::error::{Error, Result};

/// What the weights of a body's linear layers are kept and multiplied in. All
/// else, activations between the layers, norms, attention, the head and whatever
/// is added to a layer, stays float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DType {
    /// 24 bits of precision: the one that gives the numbers of the weight file.
    #[default]
    Float32,
    /// 8 bits of precision and the range of float32.
    Bfloat16,
    /// 11 bits of precision and a small range: gradients have to be scaled.
    Float16,
}

impl DType {
    /// What libtorch calls it.
    pub fn kind(self) -> Kind {
        match self {
            Self::Float32 => Kind::Float,
            Self::Bfloat16 => Kind::BFloat16,
            Self::Float16 => Kind::Half,
        }
    }

    /// Whether a loss has to be scaled to keep its gradients within the range of
    /// this type (Micikevicius et al. 2018, *Mixed Precision Training*, section 3.2).
    pub fn scales_loss(self) -> bool {
        self == Self::Float16
    }

    /// Refuses what a device cannot compute at a usable speed.
    ///
    /// # Errors
    /// [`Error::Device`] says what to use instead.
    pub fn check(self, device: Device) -> Result<()> {
        if self == Self::Float16 && !device.is_cuda() {
            return Err(Error::Device(
                "float16 needs a CUDA device; on the CPU use --dtype bfloat16 or float32"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float16_is_for_cuda() {
        assert!(DType::Float16.check(Device::Cuda(0)).is_ok());
        let error = DType::Float16.check(Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("--dtype bfloat16"), "{error}");
        assert!(DType::Bfloat16.check(Device::Cpu).is_ok());
    }
}
