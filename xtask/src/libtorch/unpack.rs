//! Unpacks libraries and headers of a wheel into `lib/` and `include/`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use storage::create_directory;

use crate::{
    archive::{Archive, Entry},
    net::Progress,
};

/// Bytes that a wheel may unpack to, several times as many as torch with CUDA.
const MOST: u64 = 16 << 30;

/// Headers that are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// Headers of torch.
    Torch,
    /// Headers of torch, CUDA and NCCL. The last two are what c10d's header for NCCL includes.
    TorchAndNvidia,
}

/// Unpacks the headers and the named libraries, or all libraries.
pub fn unpack(
    wheel: &Path,
    libraries: Option<&[String]>,
    headers: Headers,
    to: &Path,
) -> Result<()> {
    let is_wanted = |name: &str| libraries.is_none_or(|all| all.iter().any(|one| one == name));
    let mut archive = Archive::open(wheel, MOST)?;
    let mut chosen: Vec<(Entry, PathBuf)> = Vec::new();
    let mut found = Vec::new();
    for entry in &archive.entries {
        if let Some(header) = header(&entry.path, headers) {
            chosen.push((entry.clone(), Path::new("include").join(header)));
        } else if let Some(name) = library(&entry.path).filter(|name| is_wanted(name)) {
            found.push(name.to_owned());
            chosen.push((entry.clone(), Path::new("lib").join(name)));
        }
    }
    let missing = libraries.into_iter().flatten().find(|library| !found.contains(library));
    if let Some(missing) = missing {
        bail!("{} has no {missing}: its layout is unknown", wheel.display());
    }
    // A wheel with an empty list has headers only.
    let is_empty =
        if libraries.is_some_and(<[_]>::is_empty) { chosen.is_empty() } else { found.is_empty() };
    if is_empty {
        bail!("{} has no library or header: its layout is unknown", wheel.display());
    }

    let total = chosen.iter().map(|(entry, _)| entry.size).sum();
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    let title = format!("unpacking {}", name.split('-').next().unwrap_or_default());
    let mut progress = Progress::new(&title, 0, Some(total));
    for (entry, place) in &chosen {
        let path = to.join(place);
        create_directory(path.parent().unwrap_or(to))?;
        archive.unpack(entry, &path, |bytes| progress.add(bytes))?;
    }
    Ok(())
}

/// Path of a header in `include/`: below `torch/include/`, or below `nvidia/PACKAGE/include/`.
fn header(path: &Path, headers: Headers) -> Option<PathBuf> {
    let mut parts = path.components();
    let mut next = || parts.next().and_then(|part| part.as_os_str().to_str());
    let folder = match next()? {
        "torch" => next()?,
        "nvidia" if headers == Headers::TorchAndNvidia => {
            next()?;
            next()?
        }
        _ => return None,
    };
    let rest = parts.as_path();
    (folder == "include" && !rest.as_os_str().is_empty()).then(|| rest.to_owned())
}

/// Name of a shared library in a folder `lib`.
fn library(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let is_library = name.ends_with(".so") || name.contains(".so.") || name.ends_with(".dylib");
    (is_library && path.parent()?.ends_with("lib")).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::Write,
    };

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn wheel(folder: &Path, names: &[&str]) -> PathBuf {
        let path = folder.join("torch-1-py3-none-any.whl");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        for name in names {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(name.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    #[test]
    fn headers_and_the_named_libraries_are_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("out");
        let wheel = wheel(
            folder.path(),
            &[
                "torch/lib/libtorch_cpu.so",
                "torch/lib/libgomp.so.1",
                "torch/lib/libtorch_cuda.so",
                "torch/lib/libomp.dylib",
                "torch/include/ATen/ATen.h",
                "torch/nn/modules/linear.py",
                "torch/lib/shm.txt",
            ],
        );
        let files = |folder: &str| {
            let mut all: Vec<String> = fs::read_dir(to.join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            all.sort();
            all
        };
        let named = ["libtorch_cpu.so", "libgomp.so.1", "libomp.dylib"].map(str::to_owned);
        unpack(&wheel, Some(&named), Headers::Torch, &to).unwrap();
        assert_eq!(files("lib"), ["libgomp.so.1", "libomp.dylib", "libtorch_cpu.so"]);
        assert_eq!(files("include/ATen"), ["ATen.h"]);
        assert_eq!(files(""), ["include", "lib"]);
        unpack(&wheel, None, Headers::Torch, &to).unwrap();
        assert!(files("lib").contains(&"libtorch_cuda.so".to_owned()));
        let error =
            unpack(&wheel, Some(&["libcupti.so.13".to_owned()]), Headers::Torch, &to).unwrap_err();
        assert!(error.to_string().contains("libcupti.so.13"), "{error}");
    }

    #[test]
    fn headers_of_nvidia_are_unpacked_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("out");
        let wheel = wheel(
            folder.path(),
            &[
                "nvidia/nccl/include/nccl.h",
                "nvidia/cu13/include/crt/host_config.h",
                "nvidia/cu13/bin/crt/link.stub",
                "nvidia/nccl/__init__.py",
            ],
        );
        let error = unpack(&wheel, Some(&[]), Headers::Torch, &to).unwrap_err().to_string();
        assert!(error.contains("its layout is unknown"), "{error}");
        unpack(&wheel, Some(&[]), Headers::TorchAndNvidia, &to).unwrap();
        assert_eq!(fs::read(to.join("include/nccl.h")).unwrap(), b"nvidia/nccl/include/nccl.h");
        assert!(to.join("include/crt/host_config.h").is_file());
        assert_eq!(fs::read_dir(&to).unwrap().count(), 1, "only headers");
        // A wheel without a list must have libraries.
        assert!(unpack(&wheel, None, Headers::TorchAndNvidia, &to).is_err());
    }
}
