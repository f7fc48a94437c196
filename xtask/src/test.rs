//! `cargo xtask test` and `cargo xtask lint`.

use std::{ffi::OsString, path::Path};

use anyhow::Result;
use clap::Args;

use crate::{cargo::cargo, libtorch};

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

pub fn lint(root: &Path) -> Result<()> {
    libtorch::ensure(root)?;
    cargo(root, &["fmt", "--all", "--check"])?;
    let lints = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo(root, &lints)
}
