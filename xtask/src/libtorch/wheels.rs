//! Pinned wheels with libtorch, one list per platform and device.
//!
//! The table is the file `xtask/libtorch.json`. The wheels of PyTorch and NVIDIA on the
//! Python package index are listed by name, size and SHA-256, so that every mirror of
//! the index serves the same bytes or is refused.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::net::{Expected, Sum};

/// Pinned wheels, relative to the workspace.
const TABLE: &str = "xtask/libtorch.json";

/// Device that libtorch can compute on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// CPU only: 540 MB to fetch on x86-64, 460 MB kept
    #[default]
    Cpu,
    /// CPU and NVIDIA GPUs: 2.5 GB to fetch
    Cuda,
}

/// Content of the table.
#[derive(Deserialize)]
struct Table {
    version: String,
    builds: Vec<Build>,
}

/// Build of libtorch for a platform and a device.
#[derive(Deserialize)]
pub struct Build {
    /// Version of PyTorch, which has to be the version `tch` is made for.
    #[serde(skip)]
    pub version: String,
    /// As [`std::env::consts::OS`].
    pub os: String,
    /// As [`std::env::consts::ARCH`].
    arch: String,
    pub device: Device,
    pub wheels: Vec<Wheel>,
}

/// Wheel on the Python package index.
#[derive(Debug, Deserialize)]
pub struct Wheel {
    pub file: String,
    size: u64,
    sha256: String,
    /// Shared libraries to take. All of them if the list is missing, none if it is empty.
    pub libraries: Option<Vec<String>>,
}

impl Wheel {
    /// Name of the project on the index.
    pub fn project(&self) -> String {
        self.file.split('-').next().unwrap_or_default().replace('_', "-")
    }

    pub fn expected(&self) -> Expected {
        Expected { size: Some(self.size), sum: Sum::parse(&self.sha256), most: None }
    }
}

impl Build {
    /// Reads the build for this platform from the table.
    pub fn for_platform(root: &Path, os: &str, arch: &str, device: Device) -> Result<Self> {
        let path = root.join(TABLE);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let table: Table = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a table of wheels", path.display()))?;
        let version = table.version;
        let is_wanted =
            |build: &Build| build.os == os && build.arch == arch && build.device == device;
        let build = table.builds.into_iter().find(is_wanted).ok_or_else(|| {
            anyhow!(
                "there is no libtorch {version} for {os} on {arch} ({device:?}) in {TABLE}: unpack \
                 one from https://pytorch.org/get-started/locally and set LIBTORCH to its folder, \
                 or `pip install torch=={version}` and set LIBTORCH_USE_PYTORCH=1"
            )
        })?;
        if let Some(wheel) = build.wheels.iter().find(|wheel| wheel.expected().sum.is_none()) {
            bail!("{TABLE}: the sha256 of {} is not a checksum", wheel.file);
        }
        Ok(Self { version, ..build })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn build(os: &str, arch: &str, device: Device) -> Result<Build> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        Build::for_platform(&root, os, arch, device)
    }

    #[test]
    fn every_supported_platform_has_a_torch_wheel_of_the_same_version() {
        for (os, arch, tag, device) in [
            ("linux", "x86_64", "manylinux_2_28_x86_64", Device::Cpu),
            ("linux", "x86_64", "manylinux_2_28_x86_64", Device::Cuda),
            ("linux", "aarch64", "manylinux_2_28_aarch64", Device::Cpu),
            ("macos", "aarch64", "macosx_14_0_arm64", Device::Cpu),
        ] {
            let build = build(os, arch, device).unwrap();
            let torch = &build.wheels[0];
            assert!(torch.file.starts_with(&format!("torch-{}-", build.version)), "{torch:?}");
            assert!(torch.file.ends_with(&format!("{tag}.whl")), "{torch:?}");
            for wheel in &build.wheels {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                assert!(wheel.file.chars().all(is_plain), "{wheel:?}");
                let takes_all = wheel.libraries.is_none();
                let has_only_headers = wheel.libraries.as_ref().is_some_and(Vec::is_empty);
                assert_eq!(takes_all || has_only_headers, device == Device::Cuda, "{wheel:?}");
            }
        }
    }

    #[test]
    fn unsupported_platform_is_named() {
        for (os, arch, device) in [
            ("windows", "x86_64", Device::Cpu),
            ("macos", "x86_64", Device::Cpu),
            ("macos", "aarch64", Device::Cuda),
        ] {
            let error = build(os, arch, device).err().unwrap().to_string();
            for word in [os, arch, "LIBTORCH", "LIBTORCH_USE_PYTORCH=1", "2.13.0"] {
                assert!(error.contains(word), "{error}");
            }
        }
    }
}
