//! Where to compute.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tch::{Cuda, Device, Kind, TchError, Tensor};

use crate::error::{Error, Result};

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

/// The device for a choice.
///
/// # Errors
/// [`Error::Device`] if CUDA was asked for and is not there, saying whether it
/// is libtorch or the machine that lacks it.
pub fn resolve_device(choice: DeviceChoice) -> Result<Device> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Auto if Cuda::is_available() => Ok(Device::Cuda(0)),
        DeviceChoice::Auto => Ok(Device::Cpu),
        DeviceChoice::Cuda(_) if !tch::utils::has_cudart() => Err(Error::Device(
            "this program was built with a libtorch without CUDA; \
             run `cargo xtask fetch-libtorch --device cuda` and build again, or use --device cpu"
                .to_owned(),
        )),
        DeviceChoice::Cuda(number) => {
            let count = Cuda::device_count();
            if (number as i64) < count {
                Ok(Device::Cuda(number))
            } else {
                Err(Error::Device(format!(
                    "cuda:{number} was asked for, but {count} CUDA devices are usable here; \
                     look at `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use --device cpu"
                )))
            }
        }
    }
}

/// Whole numbers on a device, `[values]`. The copy to a CUDA device goes through
/// memory that the system cannot move, so that nobody waits for it.
///
/// # Errors
/// Whatever libtorch refuses, for want of memory for example.
pub fn upload(values: &[i64], device: Device) -> Result<Tensor, TchError> {
    let here = Tensor::f_from_slice(values)?;
    if !device.is_cuda() {
        return here.f_to_device(device);
    }
    here.f_pin_memory(device)?.f_to_device_(device, Kind::Int64, true, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_arrive() {
        let there = upload(&[3, 1, 2], Device::Cpu).unwrap();
        assert_eq!(there, Tensor::from_slice(&[3i64, 1, 2]));
        assert_eq!(upload(&[], Device::Cpu).unwrap().size(), [0]);
    }

    #[test]
    fn names_are_read_and_written() {
        for name in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(name.parse::<DeviceChoice>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert!("gpu".parse::<DeviceChoice>().unwrap_err().contains("\"gpu\""));
    }

    #[test]
    fn a_device_that_is_not_there_is_said() {
        assert_eq!(resolve_device(DeviceChoice::Cpu).unwrap(), Device::Cpu);
        assert!(resolve_device(DeviceChoice::Auto).is_ok());
        let error = resolve_device(DeviceChoice::Cuda(1000)).unwrap_err().to_string();
        assert!(error.contains("--device cpu"), "{error}");
    }
}
