//! What is taken out of a wheel, which is a zip archive, and where it is put:
//! libraries in `lib/`, headers in `include/`.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use zip::ZipArchive;

use crate::{net::Progress, root::make_folder};

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
    let mut archive = open(wheel)?;
    let mut chosen = Vec::new();
    let mut total = 0;
    for number in 0..archive.len() {
        let entry = archive.by_index_raw(number).with_context(|| damaged(wheel))?;
        // A path that climbs out of the folder is none.
        let path = entry.enclosed_name().ok_or_else(|| {
            anyhow!(
                "{} has a file with the path {:?}: it is refused",
                wheel.display(),
                entry.name()
            )
        })?;
        if let Some(place) = place(&path).filter(|_| entry.is_file()) {
            total += entry.size();
            chosen.push((number, place));
        }
    }
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("unpacking {}", name.split('-').next().unwrap_or_default());
    let mut progress = Progress::new(&what, 0, Some(total));
    let mut buffer = vec![0; 1 << 18];
    for (number, place) in &chosen {
        let mut entry = archive.by_index(*number).with_context(|| damaged(wheel))?;
        let path = to.join(place);
        make_folder(path.parent().unwrap_or(to))?;
        let cannot_write = || format!("cannot write {}", path.display());
        let mut file = File::create(&path).with_context(cannot_write)?;
        loop {
            let count = entry.read(&mut buffer).with_context(|| damaged(wheel))?;
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).with_context(cannot_write)?;
            progress.add(count as u64);
        }
    }
    Ok(chosen.into_iter().map(|(_, place)| place).collect())
}

/// The `METADATA` of a wheel.
pub fn metadata(wheel: &Path) -> Result<String> {
    let mut archive = open(wheel)?;
    let mut names = archive.file_names().flatten();
    let name = names.find(|name| name.ends_with(".dist-info/METADATA"));
    let name = name.ok_or_else(|| anyhow!(damaged(wheel)))?.into_owned();
    drop(names);
    let entry = archive.by_name(&name).with_context(|| damaged(wheel))?;
    io::read_to_string(entry).with_context(|| damaged(wheel))
}

fn open(wheel: &Path) -> Result<ZipArchive<BufReader<File>>> {
    let file = File::open(wheel).with_context(|| format!("cannot read {}", wheel.display()))?;
    ZipArchive::new(BufReader::new(file)).with_context(|| damaged(wheel))
}

fn damaged(wheel: &Path) -> String {
    format!("{} is no whole wheel: remove it and try again", wheel.display())
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_path_that_climbs_out_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(folder.path(), &["../../lib/libevil.so"]);
        let error = cuda(&wheel, "torch", &folder.path().join("out")).unwrap_err().to_string();
        assert!(error.contains("../../lib/libevil.so"), "{error}");
        assert!(!folder.path().join("out").exists());
    }

    #[test]
    fn what_is_no_wheel_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.whl");
        std::fs::write(&path, "PK").unwrap();
        let error = metadata(&path).unwrap_err().to_string();
        assert!(error.contains("a.whl is no whole wheel"), "{error}");
    }
}
