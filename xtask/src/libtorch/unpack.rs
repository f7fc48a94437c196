//! What is taken out of a wheel, which is a zip archive, and where it is put:
//! libraries in `lib/`, headers in `include/`.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

use crate::{
    archive::{Archive, Entry},
    durable::make_folder,
    net::Progress,
};

/// Bytes that a wheel may unpack to. Those of torch with CUDA have a quarter of it.
const MOST: u64 = 16 << 30;

/// The libraries that the CPU needs of each wheel.
fn cpu_libraries(package: &str) -> &'static [&'static str] {
    match package {
        "torch" => &["libtorch_cpu.so", "libc10.so", "libgomp.so.1"],
        "nvidia-cuda-runtime" => &["libcudart.so.13"],
        "nvidia-cuda-cupti" => &["libcupti.so.13"],
        _ => &[],
    }
}

/// Takes what computing on the CPU needs.
pub fn cpu(wheel: &Path, package: &str, to: &Path) -> Result<()> {
    let libraries = cpu_libraries(package);
    let taken = unpack(wheel, to, |path| {
        header(path)
            .or_else(|| library(path).filter(|to| libraries.iter().any(|l| to.ends_with(l))))
    })?;
    for library in libraries {
        if !taken.iter().any(|path| path.ends_with(library)) {
            bail!("{} has no {library}: this wheel is laid out in another way", wheel.display());
        }
    }
    Ok(())
}

/// Takes all libraries and headers. Packages that only require others have none.
pub fn cuda(wheel: &Path, package: &str, to: &Path) -> Result<()> {
    let taken = unpack(wheel, to, |path| {
        // The headers of the CUDA packages are not needed: none of torch's that
        // the build reads includes them.
        header(path).or_else(|| library(path))
    })?;
    if taken.is_empty() && package != "cuda-toolkit" {
        bail!("{} has no library: this wheel is laid out in another way", wheel.display());
    }
    Ok(())
}

/// Where a header of torch goes.
fn header(path: &Path) -> Option<PathBuf> {
    Some(Path::new("include").join(path.strip_prefix("torch/include").ok()?))
}

/// Where a shared library in a folder `lib` goes.
fn library(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let is_library = name.ends_with(".so") || name.contains(".so.");
    (is_library && path.parent()?.ends_with("lib")).then(|| Path::new("lib").join(name))
}

/// Takes the files that `place` gives a place below `to`; returns these places.
fn unpack(
    wheel: &Path,
    to: &Path,
    place: impl Fn(&Path) -> Option<PathBuf>,
) -> Result<Vec<PathBuf>> {
    let mut archive = Archive::open(wheel, MOST)?;
    let chosen: Vec<(Entry, PathBuf)> = archive
        .entries
        .iter()
        .filter_map(|entry| Some((entry.clone(), place(&entry.path)?)))
        .collect();
    let total = chosen.iter().map(|(entry, _)| entry.size).sum();
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("unpacking {}", name.split('-').next().unwrap_or_default());
    let mut progress = Progress::new(&what, 0, Some(total));
    for (entry, place) in &chosen {
        let path = to.join(place);
        make_folder(path.parent().unwrap_or(to))?;
        archive.unpack(entry, &path, |bytes| progress.add(bytes))?;
    }
    Ok(chosen.into_iter().map(|(_, place)| place).collect())
}

/// The `METADATA` of a wheel.
pub fn metadata(wheel: &Path) -> Result<String> {
    let mut archive = Archive::open(wheel, MOST)?;
    let is_it = |path: &Path| {
        path.ends_with("METADATA")
            && path.parent().is_some_and(|folder| folder.to_string_lossy().ends_with(".dist-info"))
    };
    let entry = archive.entries.iter().find(|entry| is_it(&entry.path)).cloned();
    let entry =
        entry.ok_or_else(|| anyhow!("{} has no METADATA: it is no wheel", wheel.display()))?;
    archive.text(&entry)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write};

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
    fn only_what_is_needed_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("out");
        let wheel = wheel(
            folder.path(),
            &[
                "torch/lib/libtorch_cpu.so",
                "torch/lib/libc10.so",
                "torch/lib/libgomp.so.1",
                "torch/lib/libtorch_cuda.so",
                "torch/include/ATen/ATen.h",
                "torch/nn/modules/linear.py",
                "torch/lib/shm.txt",
            ],
        );
        cpu(&wheel, "torch", &to).unwrap();
        let files = |folder: &str| {
            let mut all: Vec<String> = std::fs::read_dir(to.join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            all.sort();
            all
        };
        assert_eq!(files("lib"), ["libc10.so", "libgomp.so.1", "libtorch_cpu.so"]);
        assert_eq!(files("include/ATen"), ["ATen.h"]);
        assert_eq!(files(""), ["include", "lib"]);
        cuda(&wheel, "torch", &to).unwrap();
        assert!(files("lib").contains(&"libtorch_cuda.so".to_owned()));
        let error = cpu(&wheel, "nvidia-cuda-cupti", &to).unwrap_err().to_string();
        assert!(error.contains("libcupti.so.13"), "{error}");
    }
}
