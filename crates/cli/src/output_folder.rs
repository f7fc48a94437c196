//! Output directories.

use std::path::Path;

use anyhow::{Result, bail};
use trainer::run::check_is_directory;

/// Refuses an output directory of a model in which a file would be overwritten, and the
/// directory of a run, which would be both a run and a model.
pub fn check_free(out: &Path) -> Result<()> {
    check_is_directory(out)?;
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
