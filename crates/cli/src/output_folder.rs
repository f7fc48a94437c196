//! Output directories of merged models.

use std::path::Path;

use anyhow::{Result, bail};

/// Refuses a directory in which a file would be overwritten.
pub fn check_free(out: &Path) -> Result<()> {
    for file in [
        "model.safetensors",
        "adapter_model.safetensors",
        "adapter_config.json",
        "gpt2_lora.json",
        "config.json",
    ] {
        if out.join(file).exists() {
            bail!("{} already contains {file}; choose another --out", out.display());
        }
    }
    Ok(())
}
