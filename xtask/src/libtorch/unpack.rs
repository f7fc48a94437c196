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

/// Unpacks the headers of torch and the named libraries, or all libraries.
pub fn unpack(wheel: &Path, libraries: Option<&[String]>, to: &Path) -> Result<()> {
    let is_wanted = |name: &str| libraries.is_none_or(|all| all.iter().any(|one| one == name));
    let mut archive = Archive::open(wheel, MOST)?;
    let mut chosen: Vec<(Entry, PathBuf)> = Vec::new();
    let mut found = Vec::new();
    for entry in &archive.entries {
        // The build reads no header of NVIDIA's packages.
        if let Ok(header) = entry.path.strip_prefix("torch/include") {
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
    if found.is_empty() {
        bail!("{} has no library: its layout is unknown", wheel.display());
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
        unpack(&wheel, Some(&named), &to).unwrap();
        assert_eq!(files("lib"), ["libgomp.so.1", "libomp.dylib", "libtorch_cpu.so"]);
        assert_eq!(files("include/ATen"), ["ATen.h"]);
        assert_eq!(files(""), ["include", "lib"]);
        unpack(&wheel, None, &to).unwrap();
        assert!(files("lib").contains(&"libtorch_cuda.so".to_owned()));
        let error = unpack(&wheel, Some(&["libcupti.so.13".to_owned()]), &to).unwrap_err();
        assert!(error.to_string().contains("libcupti.so.13"), "{error}");
    }
}
