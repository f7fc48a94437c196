//! Other programs.

use std::{env, ffi::OsStr, path::Path, process::Command};

use anyhow::{Context, Result, bail};

/// Runs cargo in the workspace.
pub fn cargo<S: AsRef<OsStr>>(root: &Path, arguments: &[S]) -> Result<()> {
    let mut command = command(root);
    command.args(arguments);
    let task = arguments.first().map(AsRef::as_ref).unwrap_or_default().to_owned();
    run(command).with_context(|| format!("cargo {}", task.to_string_lossy()))
}

/// Cargo, in the workspace.
pub fn command(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // Cargo set these for this program; in the environment of another build they
    // would be wrong.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
        command.env_remove(name);
    }
    command
}

/// Runs a program, which writes where this one does.
pub fn run(mut command: Command) -> Result<()> {
    let status = command.status().context("it cannot be started")?;
    if !status.success() {
        bail!("failed ({status}); see its output above");
    }
    Ok(())
}
