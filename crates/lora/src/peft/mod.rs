//! Adapters of Hugging Face PEFT: reading the folders that its `save_pretrained`
//! writes, and writing folders that its `from_pretrained` reads.
//!
//! The files have the names of this crate's own, `adapter_config.json` and
//! `adapter_model.safetensors`, with different content; [`is_peft`] distinguishes them.
//! PEFT's `base_model.model.transformer.h.0.attn.c_attn` is the layer
//! `h.0.attn.c_attn` of a model whose names begin below `transformer.`.
//!
//! ```
//! use lora::{AdapterState, Injector, LoraConfig, peft};
//! use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
//! use tch::{Device, Kind, Tensor};
//!
//! let weight = Tensor::ones([4, 3], (Kind::Float, Device::Cpu));
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
//! let mut injector = Injector::new(LoraConfig::default(), &mut rng)?;
//! injector.adapt("h.0.fc", &[], &weight, None)?;
//! let state = injector.finish()?.state()?;
//!
//! // For Python …
//! let layer = peft::PeftLayer {
//!     name: "h.0.fc".to_owned(),
//!     module: "transformer.h.0.fc".to_owned(),
//!     outputs: Vec::new(),
//!     size: [4, 3],
//! };
//! let folder = tempfile::tempdir()?;
//! state.to_peft(&[layer], &peft::PeftOptions::default())?.save(folder.path())?;
//!
//! // … and from it.
//! assert!(peft::is_peft(folder.path())?);
//! let state = peft::PeftAdapter::load(folder.path())?.into_state("transformer.")?;
//! let mut injector = Injector::from_state(state)?;
//! assert!(injector.adapt("h.0.fc", &[], &weight, None)?.is_some());
//! injector.finish()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod export;
mod import;
mod keys;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use tch::Tensor;

use self::config::PeftConfig;
pub use self::export::{PeftLayer, PeftOptions};
use crate::{
    adapter::state::{CONFIG_FILE, WEIGHTS_FILE},
    error::{Error, Result},
    tensor_file::{read_tensors, write_tensors},
};

/// The adapter of a folder in PEFT's format: LoRA, rsLoRA or DoRA on linear layers,
/// and whole tensors that were trained beside it.
#[derive(Debug)]
pub struct PeftAdapter {
    config: PeftConfig,
    /// By their names in the file.
    tensors: BTreeMap<String, Tensor>,
    /// The weight file, for messages.
    origin: PathBuf,
}

impl PeftAdapter {
    /// Reads the folder that PEFT wrote.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Format`] name the file, and what in it changes
    /// the computation in a way that this crate does not know.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG_FILE);
        let config = PeftConfig::parse(&storage::read_limited(&path)?)
            .map_err(|reason| Error::Format { path: path.clone(), reason })?;
        let origin = folder.join(WEIGHTS_FILE);
        if !origin.exists() && folder.join("adapter_model.bin").exists() {
            return Err(Error::Format {
                path: folder.join("adapter_model.bin"),
                reason: "a pickle file, which can run any program; save the adapter again with a \
                         PEFT that writes safetensors"
                    .to_owned(),
            });
        }
        Ok(Self { config, tensors: read_tensors(&origin)?, origin })
    }

    /// Writes the two files into `folder`, which is made if missing. Each file is
    /// whole or not there.
    ///
    /// # Errors
    /// [`Error::Storage`] names the file that could not be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        storage::create_directory(folder)?;
        write_tensors(&folder.join(WEIGHTS_FILE), &self.tensors)?;
        Ok(storage::write_json(&folder.join(CONFIG_FILE), &self.config)?)
    }

    /// Name of the base model, as written by the author of the adapter.
    pub fn base_model(&self) -> Option<&str> {
        self.config.base_model_name_or_path.as_deref()
    }

    /// Task of the model, for example `SEQ_CLS`.
    pub fn task_type(&self) -> Option<&str> {
        self.config.task_type.as_deref()
    }

    /// Modules that were trained as a whole, for example a new head.
    pub fn modules_to_save(&self) -> &[String] {
        self.config.modules_to_save.as_deref().unwrap_or_default()
    }

    /// Tensors by their names in the file.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }
}

/// Returns whether the adapter in `folder` has PEFT's format and not this crate's own.
///
/// # Errors
/// [`Error::Storage`] or [`Error::Format`] if its configuration cannot be read.
pub fn is_peft(folder: &Path) -> Result<bool> {
    let path = folder.join(CONFIG_FILE);
    let config: Map<String, Value> = serde_json::from_slice(&storage::read_limited(&path)?)
        .map_err(|error| Error::Format { path, reason: format!("not JSON: {error}") })?;
    Ok(config.contains_key("peft_type"))
}
