//! Adapter as data, without a model, and its files: `adapter_model.safetensors` with
//! every tensor, `adapter_config.json` with the [`LoraConfig`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tch::Tensor;

use crate::{
    adapter::tensor_names::{a_name, b_name, magnitude_name},
    config::LoraConfig,
    error::{Error, Result},
    tensor_file::{copy_of, read_tensors, write_tensors},
};

/// Name of the file with the tensors.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// Name of the file with the configuration.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// Adapter as data: its settings and a copy of its tensors, on the CPU.
///
/// Beside `<layer>.lora_A.weight` `[rank, in]`, `<layer>.lora_B.weight`
/// `[out, rank]` and, for DoRA, `<layer>.lora_magnitude_vector` `[out]` it may
/// hold whole tensors that belong to the adapter, such as a new head, and
/// settings of the program that made it.
#[derive(Debug)]
pub struct AdapterState {
    config: LoraConfig,
    more: Map<String, Value>,
    tensors: BTreeMap<String, Tensor>,
    /// The file it was read from, for messages.
    origin: PathBuf,
}

/// `adapter_config.json`: the configuration and whatever the caller keeps with it.
#[derive(Serialize, Deserialize)]
struct ConfigFile {
    #[serde(flatten)]
    lora: LoraConfig,
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl AdapterState {
    /// An adapter without tensors.
    pub fn new(config: LoraConfig) -> Self {
        Self::with(config, BTreeMap::new(), PathBuf::from("the adapter"))
    }

    /// `origin` is the file that the tensors came from.
    pub(crate) fn with(
        config: LoraConfig,
        tensors: BTreeMap<String, Tensor>,
        origin: PathBuf,
    ) -> Self {
        Self { config, more: Map::new(), tensors, origin }
    }

    /// Settings of the adapter.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// Entries of the configuration file beside the adapter's own settings.
    pub fn more(&self) -> &Map<String, Value> {
        &self.more
    }

    /// [`AdapterState::more`], mutable.
    pub fn more_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.more
    }

    /// Tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Adds a copy of a whole tensor that belongs to the adapter.
    pub fn add_tensor(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        self.tensors.insert(name.to_owned(), copy_of(tensor)?);
        Ok(())
    }

    /// Removes a whole tensor that belongs to the adapter.
    pub fn take_tensor(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// Takes `A` and `B` of a layer.
    pub(crate) fn take_layer(
        &mut self,
        layer: &str,
        a_shape: [i64; 2],
        b_shape: [i64; 2],
    ) -> Result<(Tensor, Tensor)> {
        let mut problems = Vec::new();
        let a = self.take_shaped(a_name(layer), &a_shape, &mut problems);
        let b = self.take_shaped(b_name(layer), &b_shape, &mut problems);
        match (a, b) {
            (Some(a), Some(b)) => Ok((a, b)),
            _ => Err(self.mismatch(problems)),
        }
    }

    /// Takes the magnitudes `[out]` of a layer.
    pub(crate) fn take_magnitude(&mut self, layer: &str, out: i64) -> Result<Tensor> {
        let mut problems = Vec::new();
        self.take_shaped(magnitude_name(layer), &[out], &mut problems)
            .ok_or_else(|| self.mismatch(problems))
    }

    fn take_shaped(
        &mut self,
        name: String,
        shape: &[i64],
        problems: &mut Vec<String>,
    ) -> Option<Tensor> {
        match self.tensors.remove(&name) {
            None => {
                problems.push(format!("{name} is missing"));
                None
            }
            Some(tensor) if tensor.size() != shape => {
                let size = tensor.size();
                problems.push(format!("{name} has shape {size:?}, expected {shape:?}"));
                None
            }
            found => found,
        }
    }

    /// Refuses tensors that no layer took: they belong to another model.
    pub(crate) fn all_taken(&self) -> Result<()> {
        if self.tensors.is_empty() {
            return Ok(());
        }
        let problems =
            self.tensors.keys().map(|name| format!("{name} does not belong to any layer"));
        Err(self.mismatch(problems.collect()))
    }

    /// Returns a copy that shares the tensors, to take them one by one.
    pub(crate) fn shared(&self) -> Self {
        let tensors = self.tensors.iter();
        let tensors = tensors.map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
        Self::with(self.config.clone(), tensors.collect(), self.origin.clone())
    }

    pub(crate) fn mismatch(&self, problems: Vec<String>) -> Error {
        Error::Mismatch { path: self.origin.clone(), problems }
    }

    /// Writes the two files into `folder`, which is made if missing. Each file
    /// is whole or not there: it is written under another name first.
    ///
    /// # Errors
    /// [`Error::Storage`] names the file that could not be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        storage::create_directory(folder)?;
        write_tensors(&folder.join(WEIGHTS_FILE), &self.tensors)?;
        let file = ConfigFile { lora: self.config.clone(), more: self.more.clone() };
        Ok(storage::write_json(&folder.join(CONFIG_FILE), &file)?)
    }

    /// Reads the adapter in `folder`. Tensors of float16 or bfloat16 become
    /// float32.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Format`] or [`Error::Config`] name the file or
    /// the setting at fault.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG_FILE);
        let failed = |reason: String| Error::Format { path: path.clone(), reason };
        let bytes = storage::read_limited(&path)?;
        let file: ConfigFile = serde_json::from_slice(&bytes).map_err(|error| {
            let peft = serde_json::from_slice::<Map<String, Value>>(&bytes)
                .is_ok_and(|config| config.contains_key("peft_type"));
            failed(if peft {
                "written by Hugging Face PEFT, whose adapters are read as such".to_owned()
            } else {
                format!("not an adapter configuration: {error}")
            })
        })?;
        file.lora.check().map_err(|error| failed(error.to_string()))?;
        let origin = folder.join(WEIGHTS_FILE);
        Ok(Self { config: file.lora, more: file.more, tensors: read_tensors(&origin)?, origin })
    }
}
