//! `cargo xtask fetch-libtorch`: libtorch without Python, out of the wheels that
//! Python's package index has.

mod index;
mod pip_config;
mod requirements;
mod unpack;

#[cfg(test)]
mod hostile;

use std::{
    collections::{HashSet, VecDeque},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::{
    durable::{make_folder, rename, write_whole},
    net::{Client, Expected, Request, Sum, download},
    root::{Lock, show},
    sums,
};
use index::Index;
use requirements::{Needed, needed};

pub const HELP: &str = "\
Examples:
  cargo xtask fetch-libtorch
  cargo xtask fetch-libtorch --device cuda
  PIP_INDEX_URL=https://mirror.example/simple cargo xtask fetch-libtorch

A LIBTORCH of your own, or LIBTORCH_USE_PYTORCH=1, wins: then nothing is fetched.";

/// The version that `tch` is made for.
const VERSION: &str = "2.13.0";

/// What the CPU build of libtorch in the wheels is linked to beside its own
/// libraries. It never calls them without a GPU.
const CPU_WHEELS: [&str; 3] =
    ["torch==2.13.0", "nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cupti==13.0.85"];

/// Bytes that a wheel may have, where the index does not say how many.
const MOST: u64 = 8 << 30;

/// The file in a fetched libtorch that says what it is.
const RECORD: &str = "fetched.json";

/// What libtorch can compute on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor alone: 540 MB to fetch, 460 MB kept
    #[default]
    Cpu,
    /// The processor and GPUs of NVIDIA: 2.5 GB to fetch
    Cuda,
}

#[derive(Args, Clone, Debug, Default)]
pub struct FetchArgs {
    /// What libtorch can compute on
    #[arg(long, value_enum, default_value_t)]
    device: Device,
    /// Package index to take the wheels from [default: pip's, from PIP_INDEX_URL
    /// or its configuration files, else https://pypi.org/simple]
    #[arg(long, value_name = "URL")]
    index_url: Option<String>,
    /// Fetch it although it is there
    #[arg(long)]
    force: bool,
}

/// What was fetched, as `fetched.json` says it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: String,
    device: Device,
    wheels: Vec<Wheel>,
}

/// A wheel that was taken.
#[derive(Debug, Serialize, Deserialize)]
struct Wheel {
    file: String,
    sha256: String,
}

/// The user's own libtorch, if there is one: how it was chosen.
fn users_own(root: &Path) -> Option<String> {
    if env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        return Some("LIBTORCH_USE_PYTORCH is set".to_owned());
    }
    // Cargo itself sets the variable for this program, to the workspace's folder.
    let own = PathBuf::from(env::var_os("LIBTORCH")?);
    let is_ours = own == root.join("libtorch") || own.as_os_str().is_empty();
    (!is_ours).then(|| format!("LIBTORCH is set to {}", own.display()))
}

/// Makes sure that there is a libtorch to build with. Where it is, nobody is asked.
pub fn ensure(root: &Path) -> Result<()> {
    let target = root.join("libtorch");
    let record = record_of(&target);
    // One that this task did not fetch is of the version that its owner wants.
    let is_wanted = record.as_ref().is_none_or(|record| record.version == VERSION);
    if users_own(root).is_some() || is_there(&target) && is_wanted {
        return Ok(());
    }
    say!("there is no libtorch {VERSION} yet: fetching it");
    let device = record.map(|record| record.device).unwrap_or_default();
    fetch(root, &FetchArgs { device, ..FetchArgs::default() })
}

fn is_there(folder: &Path) -> bool {
    folder.join("lib").is_dir()
}

/// Whether there is nothing to fetch, which is said.
fn is_done(target: &Path, args: &FetchArgs) -> Result<bool> {
    if !is_there(target) || args.force {
        return Ok(false);
    }
    match record_of(target) {
        None => {
            say!("libtorch/ is there and was not fetched by this task: it is left alone");
            Ok(true)
        }
        Some(record) if record.version == VERSION && record.device == args.device => {
            sums::check(target).context(
                "libtorch/ is not what was fetched; --force fetches that again in its place",
            )?;
            say!("libtorch {VERSION} is there");
            Ok(true)
        }
        Some(_) => Ok(false),
    }
}

fn record_of(folder: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()
}

pub fn fetch(root: &Path, args: &FetchArgs) -> Result<()> {
    if let Some(own) = users_own(root) {
        say!("{own}: that libtorch is used, and nothing is fetched");
        return Ok(());
    }
    let target = root.join("libtorch");
    if is_done(&target, args)? {
        return Ok(());
    }
    check_platform(env::consts::OS, env::consts::ARCH)?;

    // The lock is beside the folder of work: that one is removed in the end, and who
    // waits for a lock that is removed waits for nothing.
    let _lock = Lock::take(&root.join("libtorch.lock"), "fetch")?;
    // Another fetch may have ended just now.
    if is_done(&target, args)? {
        return Ok(());
    }
    let before = record_of(&target);
    // Everything happens in a folder of its own, which becomes libtorch/ in one
    // step when it is whole. Wheels stay in it after an interruption.
    let work = root.join("libtorch.partial");
    make_folder(&work.join("wheels"))?;
    let index = Index::new(Client::new(), pip_config::index_url(args.index_url.as_deref())?);
    let staging = work.join("libtorch");
    remove_folder(&staging)?;
    let wheels = match args.device {
        Device::Cpu => fetch_cpu(&index, &work, &staging)?,
        Device::Cuda => fetch_cuda(&index, &work, &staging)?,
    };
    let record = Record { version: VERSION.to_owned(), device: args.device, wheels };
    write_whole(&staging.join(RECORD), &serde_json::to_string_pretty(&record)?)?;
    // `torch-sys` compares this with the version it wants.
    write_whole(&staging.join("build-version"), VERSION)?;
    sums::remember_all(&staging)?;

    let old = work.join("old");
    remove_folder(&old)?;
    if target.exists() {
        rename(&target, &old)?;
    }
    rename(&staging, &target)?;
    remove_folder(&work)?;
    if before.is_some_and(|record| record.device != args.device) {
        forget_build(root)?;
    }
    say!("libtorch {VERSION} is in {}", show(root, &target));
    Ok(())
}

fn check_platform(os: &str, arch: &str) -> Result<()> {
    if (os, arch) == ("linux", "x86_64") {
        return Ok(());
    }
    bail!(
        "libtorch is fetched for Linux on x86-64 only, and this is {os} on {arch}: unpack libtorch \
         {VERSION} from https://pytorch.org/get-started/locally and set LIBTORCH to its folder, or \
         `pip install torch=={VERSION}` and set LIBTORCH_USE_PYTORCH=1"
    )
}

fn fetch_cpu(index: &Index, work: &Path, staging: &Path) -> Result<Vec<Wheel>> {
    let mut wheels = Vec::new();
    for requirement in CPU_WHEELS {
        let needed = Needed::parse(requirement)?;
        let (path, wheel) = fetch_wheel(index, &needed, work)?;
        unpack::cpu(&path, &needed.name, staging)?;
        wheels.push(wheel);
    }
    // What binaries are linked to by name: here that is all of libtorch.
    write_whole(&staging.join("lib/libtorch.so"), "INPUT(libtorch_cpu.so)\n")?;
    Ok(wheels)
}

/// The torch wheel and all wheels with CUDA libraries that it requires, or that
/// these require.
fn fetch_cuda(index: &Index, work: &Path, staging: &Path) -> Result<Vec<Wheel>> {
    let mut wheels = Vec::new();
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([Needed::parse(&format!("torch=={VERSION}"))?]);
    while let Some(next) = queue.pop_front() {
        if !seen.insert((next.name.clone(), next.extras.clone())) {
            continue;
        }
        let (path, wheel) = fetch_wheel(index, &next, work)?;
        let requires = needed(&unpack::metadata(&path)?, &next.extras)?;
        let is_cuda =
            |needed: &Needed| needed.name.starts_with("nvidia-") || needed.name == "cuda-toolkit";
        queue.extend(requires.into_iter().filter(is_cuda));
        unpack::cuda(&path, &next.name, staging)?;
        wheels.push(wheel);
    }
    Ok(wheels)
}

/// Fetches the newest wheel of a package that is allowed.
fn fetch_wheel(index: &Index, needed: &Needed, work: &Path) -> Result<(PathBuf, Wheel)> {
    let project = index.files(&needed.name)?;
    let file = requirements::choose(needed, project).ok_or_else(|| {
        anyhow!(
            "{} has no wheel of {} for Linux on x86-64: give another index with --index-url",
            index.shown(),
            needed
        )
    })?;
    let sha256 = file.sha256.clone().ok_or_else(|| {
        anyhow!(
            "{} gives no sha256 for {}, so it cannot be checked: give another index with \
             --index-url",
            index.shown(),
            file.filename
        )
    })?;
    let to = work.join("wheels").join(&file.filename);
    let expected = Expected { size: file.size, sum: Sum::parse(&sha256), most: Some(MOST) };
    if !to.is_file() || expected.check(&to).is_err() {
        let request = Request::get(file.url.clone());
        download(index.client(), &index.authorised(request), &expected, &to).with_context(
            || {
                format!(
                    "{} cannot be fetched (run the command again to go on; --index-url or \
                 PIP_INDEX_URL name another index, HTTPS_PROXY a proxy)",
                    file.filename
                )
            },
        )?;
    }
    Ok((to, Wheel { file: file.filename, sha256 }))
}

/// Has cargo build the bindings again, which it would not for other libraries
/// in the same place.
fn forget_build(root: &Path) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for profile in ["dev", "release"] {
        let mut clean = Command::new(&cargo);
        clean.args(["clean", "--quiet", "--package", "torch-sys", "--profile", profile]);
        let status = clean.current_dir(root).status().context("cannot run cargo clean")?;
        if !status.success() {
            bail!("cargo clean --package torch-sys failed: run it by hand before the next build");
        }
    }
    Ok(())
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_platforms_are_told_what_to_set() {
        assert!(check_platform("linux", "x86_64").is_ok());
        for (os, arch) in [("macos", "aarch64"), ("windows", "x86_64"), ("linux", "aarch64")] {
            let error = check_platform(os, arch).unwrap_err().to_string();
            for word in [os, arch, "LIBTORCH", "LIBTORCH_USE_PYTORCH=1", VERSION] {
                assert!(error.contains(word), "{error}");
            }
        }
    }

    #[test]
    fn the_wheels_are_of_the_version_that_is_wanted() {
        assert!(CPU_WHEELS.contains(&format!("torch=={VERSION}").as_str()));
    }
}
