//! Adapter files: the folders that Hugging Face PEFT's `save_pretrained` writes and its
//! `from_pretrained` reads.
//!
//! PEFT's `base_model.model.transformer.h.0.attn.c_attn` is the layer
//! `h.0.attn.c_attn` of a model whose names begin below `transformer.`. Adapters on slices
//! of a layer are stored as one block-diagonal adapter on the whole layer, and come back as
//! slices for the settings that they were trained with ([`PeftAdapter::into_state`]).
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
//! let layer = peft::PeftLayer {
//!     name: "h.0.fc".to_owned(),
//!     module: "transformer.h.0.fc".to_owned(),
//!     outputs: Vec::new(),
//!     size: [4, 3],
//! };
//! let folder = tempfile::tempdir()?;
//! state.to_peft(&[layer], &peft::PeftOptions::default())?.save(folder.path())?;
//!
//! let saved = peft::PeftAdapter::load(folder.path())?;
//! let state = saved.into_state("transformer.", &peft::Slicing::default())?;
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

use serde::Serialize;
use tch::Tensor;

use self::config::PeftConfig;
pub use self::{
    export::{PeftLayer, PeftOptions},
    import::Slicing,
};
use crate::{
    error::{Error, Result},
    tensor_file::{read_tensors, write_tensors},
};

/// Name of the file with the tensors.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// Name of the file with the settings.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// The adapter of a folder in PEFT's format: LoRA, rsLoRA or DoRA on linear layers,
/// and whole tensors that were trained beside it.
#[derive(Debug)]
pub struct PeftAdapter {
    config: PeftConfig,
    /// By their names in the file.
    tensors: BTreeMap<String, Tensor>,
    /// The weight file, for messages.
    origin: PathBuf,
    ignored_settings: Vec<String>,
}

impl PeftAdapter {
    /// Reads the folder that PEFT wrote.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Format`] name the file, and what in it changes
    /// the computation in a way that this crate does not know.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG_FILE);
        let (config, ignored_settings) = PeftConfig::parse(&storage::read_limited(&path)?)
            .map_err(|problem| Error::Format { path: path.clone(), problem: problem.into() })?;
        let origin = tensor_files::find(folder, &["adapter_model"])
            .unwrap_or_else(|| folder.join(WEIGHTS_FILE));
        Ok(Self { config, tensors: read_tensors(&origin)?, origin, ignored_settings })
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

    /// Settings of the file.
    pub fn settings(&self) -> impl Serialize {
        &self.config
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
