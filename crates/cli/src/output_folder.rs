//! Output directories.

use std::path::Path;

use anyhow::{Result, bail};
use trainer::run::RunDirectoryError;

/// Refuses a file in the place of an output directory.
pub fn check_directory(out: &Path) -> Result<()> {
    if out.exists() && !out.is_dir() {
        return Err(RunDirectoryError::NotADirectory { path: out.to_owned() }.into());
    }
    Ok(())
}

/// Refuses an output directory of a model in which a file would be overwritten, and the
/// directory of a run, which would be both a run and a model.
pub fn check_free(out: &Path) -> Result<()> {
    check_directory(out)?;
    for file in [
        "model.safetensors",
        "adapter_model.safetensors",
        "adapter_config.json",
        "gpt2_lora.json",
        "config.json",
        "run.toml",
        "report.json",
        "checkpoints",
    ] {
        if out.join(file).exists() {
            bail!("{} already contains {file}; choose another --out", out.display());
        }
    }
    Ok(())
}
