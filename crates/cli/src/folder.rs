//! Folders for results.

use std::path::Path;

use anyhow::{Result, bail};

/// Refuses a folder in which something would be written over.
pub fn free(out: &Path) -> Result<()> {
    for file in [
        "model.safetensors",
        "adapter_model.safetensors",
        "adapter_config.json",
        "gpt2_lora.json",
        "config.json",
    ] {
        if out.join(file).exists() {
            bail!("{} has {file} in it already; give --out a new folder", out.display());
        }
    }
    Ok(())
}
