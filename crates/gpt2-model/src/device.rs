//! Choice of the device to compute on, and its number formats.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tch::{Cuda, Device};

use crate::{
    dtype::DType,
    error::{Error, Result},
};

/// A device as a user names it: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first CUDA device if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device by number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("\"{text}\" is not auto, cpu, cuda or cuda:N")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl Serialize for DeviceChoice {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceChoice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Returns the device for a choice.
///
/// # Errors
/// [`Error::NoCuda`] or [`Error::NoDevice`] if CUDA was requested and libtorch or the
/// machine lacks it.
pub fn resolve_device(choice: DeviceChoice) -> Result<Device> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Auto if Cuda::is_available() => Ok(Device::Cuda(0)),
        DeviceChoice::Auto => Ok(Device::Cpu),
        DeviceChoice::Cuda(_) if !tch::utils::has_cudart() => Err(Error::NoCuda),
        DeviceChoice::Cuda(number) => {
            let count = Cuda::device_count();
            if (number as i64) < count {
                Ok(Device::Cuda(number))
            } else {
                Err(Error::NoDevice { number, count })
            }
        }
    }
}

impl DType {
    /// Refuses a format that a device cannot compute in at a usable speed.
    ///
    /// # Errors
    /// [`Error::UnsupportedDType`] for float16 on the CPU.
    pub fn check(self, device: Device) -> Result<()> {
        if self == Self::Float16 && !device.is_cuda() {
            return Err(Error::UnsupportedDType { dtype: self, device });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float16_needs_cuda() {
        assert!(DType::Float16.check(Device::Cuda(0)).is_ok());
        let error = DType::Float16.check(Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("float16 is not supported"), "{error}");
        assert!(DType::Bfloat16.check(Device::Cpu).is_ok());
    }

    #[test]
    fn names_round_trip() {
        for name in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(name.parse::<DeviceChoice>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert!("gpu".parse::<DeviceChoice>().unwrap_err().contains("\"gpu\""));
    }

    #[test]
    fn a_missing_device_is_an_error() {
        assert_eq!(resolve_device(DeviceChoice::Cpu).unwrap(), Device::Cpu);
        assert!(resolve_device(DeviceChoice::Auto).is_ok());
        let error = resolve_device(DeviceChoice::Cuda(1000)).unwrap_err();
        assert!(matches!(error, Error::NoCuda | Error::NoDevice { .. }), "{error}");
    }
}
