//! `cargo xtask fetch-libtorch`: libtorch without Python, taken from the wheels on the
//! Python package index.

mod index;
mod unpack;
mod wheels;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use storage::{create_directory, rename, write_atomic, write_json};

use crate::{
    cargo::cargo,
    net::download,
    sha256sums,
    workspace::{Lock, remove_folder, show},
};
use index::Index;
use unpack::{Headers, unpack};
use wheels::{Build, Device, Wheel};

pub const HELP: &str = "\
The wheels are pinned in xtask/libtorch.json by size and SHA-256. Behind a mirror of
the Python package index:
  PIP_INDEX_URL=$(pip config get global.index-url) cargo xtask fetch-libtorch

Examples:
  cargo xtask fetch-libtorch
  cargo xtask fetch-libtorch --device cuda

If LIBTORCH or LIBTORCH_USE_PYTORCH=1 is set, nothing is fetched.";

/// Description of a fetched libtorch, inside it.
const RECORD: &str = "fetched.json";

#[derive(Args, Clone, Debug, Default)]
pub struct FetchArgs {
    /// Device that libtorch supports
    #[arg(long, value_enum, default_value_t)]
    device: Device,
    /// Package index to take the wheels from [default: PIP_INDEX_URL, else PyPI]
    #[arg(long, value_name = "URL")]
    index_url: Option<String>,
    /// Fetch it again if it exists
    #[arg(long)]
    force: bool,
}

/// Content of `fetched.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: String,
    device: Device,
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

/// Makes sure that there is a libtorch to build with, and asks no server where one is.
pub fn ensure(root: &Path) -> Result<()> {
    let target = root.join("libtorch");
    let record = record_of(&target);
    let device = record.as_ref().map(|record| record.device).unwrap_or_default();
    if users_own(root).is_some() || is_there(&target) && record.is_none() {
        return Ok(());
    }
    let build = Build::for_platform(root, env::consts::OS, env::consts::ARCH, device)?;
    if is_there(&target) && record.is_some_and(|record| record.version == build.version) {
        return Ok(());
    }
    say!("there is no libtorch {} yet: fetching it", build.version);
    fetch(root, &FetchArgs { device, ..FetchArgs::default() })
}

fn is_there(folder: &Path) -> bool {
    folder.join("lib").is_dir()
}

/// Returns whether there is nothing to fetch, and reports it.
fn is_done(target: &Path, build: &Build, args: &FetchArgs) -> Result<bool> {
    if !is_there(target) || args.force {
        return Ok(false);
    }
    match record_of(target) {
        None => {
            say!("libtorch/ was not fetched by this task: it is left alone");
            Ok(true)
        }
        Some(record) if record.version == build.version && record.device == build.device => {
            sha256sums::check(target)
                .context("libtorch/ has changed since it was fetched; --force fetches it again")?;
            say!("libtorch {} is there", build.version);
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
    let build = Build::for_platform(root, env::consts::OS, env::consts::ARCH, args.device)?;
    if is_done(&target, &build, args)? {
        return Ok(());
    }
    // The lock is beside the working folder: whoever waits for a lock in a folder that
    // is removed waits for nothing.
    let _lock = Lock::take(&root.join("libtorch.lock"), "fetch")?;
    // Another fetch may have ended just now.
    if is_done(&target, &build, args)? {
        return Ok(());
    }
    let before = record_of(&target);
    // Everything happens in a folder of its own, which becomes libtorch/ in one
    // step when it is complete. Wheels stay in it after an interruption.
    let work = root.join("libtorch.partial");
    create_directory(&work.join("wheels"))?;
    let staging = work.join("libtorch");
    remove_folder(&staging)?;
    fill(&staging, &work.join("wheels"), &build, &Index::new(args.index_url.as_deref())?)?;

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
    say!("libtorch {} is in {}", build.version, show(root, &target));
    Ok(())
}

/// Fetches and unpacks all wheels of a build.
fn fill(staging: &Path, downloads: &Path, build: &Build, index: &Index) -> Result<()> {
    let headers = match build.device {
        Device::Cpu => Headers::Torch,
        Device::Cuda => Headers::TorchAndNvidia,
    };
    for wheel in &build.wheels {
        let path = fetch_wheel(index, wheel, downloads)?;
        unpack(&path, wheel.libraries.as_deref(), headers, staging)?;
    }
    if build.os == "linux" && build.device == Device::Cpu {
        // Programs are linked to libtorch by this name. The one in the wheel also
        // requires CUDA.
        write_atomic(&staging.join("lib/libtorch.so"), b"INPUT(libtorch_cpu.so)\n")?;
    }
    let record = Record { version: build.version.clone(), device: build.device };
    write_json(&staging.join(RECORD), &record)?;
    // `torch-sys` compares this with the version it wants.
    write_atomic(&staging.join("build-version"), build.version.as_bytes())?;
    sha256sums::remember_all(staging)
}

/// Fetches a wheel, unless an interrupted fetch has left it.
fn fetch_wheel(index: &Index, wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
    let to = folder.join(&wheel.file);
    let expected = wheel.expected();
    if to.is_file() && expected.check(&to).is_ok() {
        return Ok(to);
    }
    let request = index.request(&wheel.project(), &wheel.file)?;
    download(index.client(), &request, &expected, &to).with_context(|| {
        format!(
            "{} cannot be fetched (run the command again to resume; --index-url or \
             PIP_INDEX_URL name another index, HTTPS_PROXY a proxy)",
            wheel.file
        )
    })?;
    Ok(to)
}

/// Has cargo build the bindings again, which it would not for other libraries
/// in the same place.
fn forget_build(root: &Path) -> Result<()> {
    cargo(root, &["clean", "--quiet", "--package", "torch-sys"])
        .context("run it by hand before the next build")
}
