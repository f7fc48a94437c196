//! Cargo and other programs.

use std::{env, ffi::OsStr, path::Path, process::Command};

use anyhow::{Context, Result, bail};

/// Runs cargo in the workspace.
pub fn cargo<S: AsRef<OsStr>>(root: &Path, arguments: &[S]) -> Result<()> {
    let mut command = command(root);
    command.args(arguments);
    let task = arguments.first().map(AsRef::as_ref).unwrap_or_default().to_owned();
    run(command).with_context(|| format!("cargo {}", task.to_string_lossy()))
}

/// Returns a command for cargo in the workspace.
pub fn command(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // Cargo set these for this program. In the environment of another build they would be
    // wrong, and build scripts that look at them (ring's, for example) would run again.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a program with inherited output.
pub fn run(mut command: Command) -> Result<()> {
    let status = command.status().context("the program cannot be started")?;
    if !status.success() {
        bail!("failed ({status}); see its output above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_this_package_are_not_passed_on() {
        // Cargo has set them for this test.
        assert!(env::var_os("CARGO_PKG_NAME").is_some());
        let removed = |name: &str| {
            let command = command(Path::new("."));
            command.get_envs().any(|(other, value)| other == name && value.is_none())
        };
        assert!(removed("CARGO_PKG_NAME") && removed("CARGO_MANIFEST_DIR"));
        assert!(!removed("PATH"));
    }
}
