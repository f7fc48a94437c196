//! `cargo xtask supply-chain`: `cargo-machete` finds unused dependencies, `cargo-deny` checks
//! the others against `deny.toml`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    cargo::{cargo, run},
    workspace::{show, target_folder},
};

pub const HELP: &str = "\
The two tools are taken from target/tools or PATH if they have the pinned versions, and are
otherwise built from crates.io into target/tools (minutes, once).

The advisories (RustSec) are a git repository on GitHub. If it cannot be reached, a note
reports it, and the rest is checked.

Examples:
  cargo xtask supply-chain
  cargo xtask supply-chain --require-advisories";

/// Pinned tools, because other versions have other rules.
const MACHETE: Tool = Tool { name: "cargo-machete", version: "0.9.2" };
const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Fail if the advisories cannot be fetched
    #[arg(long)]
    require_advisories: bool,
}

pub fn check(root: &Path, args: &Args) -> Result<()> {
    let (machete, deny) = (MACHETE.find(root)?, DENY.find(root)?);
    let mut unused = Command::new(machete);
    unused.current_dir(root);
    run(unused).context("cargo-machete, which looks for unused dependencies")?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&deny);
        command.args(["--locked", "--workspace"]).args(arguments).current_dir(root);
        command
    };
    let against = "cargo-deny, which checks the dependencies against deny.toml";
    run(deny(&["check", "licenses", "bans", "sources"])).context(against)?;

    let fetched = deny(&["fetch", "db"]).output().context(against)?;
    if fetched.status.success() {
        run(deny(&["check", "--disable-fetch", "advisories"])).context(against)?;
        say!("supply chain: dependencies, licenses, versions, origins and advisories pass");
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&fetched.stderr);
    let why = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    if args.require_advisories {
        bail!("advisories were NOT checked: their database cannot be fetched ({})", why.trim());
    }
    say!(
        "supply chain: dependencies, licenses, versions and origins pass\n\
         supply chain: advisories were NOT checked: their database cannot be fetched ({})",
        why.trim()
    );
    Ok(())
}

/// Program that cargo installs from crates.io.
struct Tool {
    name: &'static str,
    version: &'static str,
}

impl Tool {
    /// Finds the program, or builds it.
    fn find(&self, root: &Path) -> Result<PathBuf> {
        let folder = target_folder(root).join("tools");
        let own = folder.join("bin").join(self.name);
        let path = env::var_os("PATH").unwrap_or_default();
        let others = env::split_paths(&path).map(|folder| folder.join(self.name));
        if let Some(there) = [own.clone()].into_iter().chain(others).find(|file| self.is_in(file)) {
            return Ok(there);
        }
        let package = format!("{}@{}", self.name, self.version);
        say!("building {package} into {} (minutes, once)", show(root, &folder));
        let folder = folder.display().to_string();
        cargo(root, &["install", "--quiet", "--locked", "--root", &folder, &package])?;
        Ok(own)
    }

    /// Returns whether a file is this program in this version.
    fn is_in(&self, file: &Path) -> bool {
        let said = || Some(Command::new(file).arg("--version").output().ok()?.stdout);
        let said = if file.is_file() { said() } else { None };
        said.is_some_and(|said| {
            String::from_utf8_lossy(&said).split_whitespace().last() == Some(self.version)
        })
    }
}
