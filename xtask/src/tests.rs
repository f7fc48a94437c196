//! `cargo xtask test` and `cargo xtask check`: what the project demands of a
//! change, with the commands that a person would type.

use std::{env, ffi::OsString, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::libtorch;

pub const HELP: &str = "\
Examples:
  cargo xtask test
  cargo xtask test --package lora
  cargo xtask test -- golden";

#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Arguments for `cargo test` [default: --workspace]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

pub fn test(root: &Path, args: &TestArgs) -> Result<()> {
    libtorch::ensure(root)?;
    let mut all: Vec<OsString> = vec!["test".into(), "--locked".into()];
    let packages = ["--package", "-p", "--workspace", "--all"];
    if !args.arguments.iter().any(|argument| packages.iter().any(|other| argument == other)) {
        all.push("--workspace".into());
    }
    all.extend(args.arguments.iter().cloned());
    cargo(root, &all)
}

pub fn check(root: &Path) -> Result<()> {
    libtorch::ensure(root)?;
    cargo(root, &["fmt", "--all", "--check"])?;
    let lints = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo(root, &lints)
}

fn cargo<S: AsRef<std::ffi::OsStr>>(root: &Path, arguments: &[S]) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root);
    // Cargo set these for this program, and they are none of its tests' business.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
        command.env_remove(name);
    }
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        let task = arguments
            .first()
            .map_or_else(Default::default, |first| first.as_ref().to_string_lossy());
        bail!("`cargo {task}` failed");
    }
    Ok(())
}
