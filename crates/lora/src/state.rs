//! An adapter as data, apart from any model, and its files:
//! `adapter_model.safetensors` with every tensor, `adapter_config.json` with the
//! [`LoraConfig`].

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use atomic_write_file::AtomicWriteFile;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use crate::{
    adapter::{a_name, b_name},
    config::LoraConfig,
    error::{Error, Result},
};

/// Name of the file with the tensors.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// Name of the file with the configuration.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// An adapter as data: its settings and a copy of its tensors, on the CPU.
///
/// Beside `<layer>.lora_A.weight` `[rank, in]` and `<layer>.lora_B.weight`
/// `[out, rank]` it may hold whole tensors that belong to the adapter, such as
/// a new head, and settings of the program that made it.
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
    pub(crate) fn new(config: LoraConfig) -> Self {
        let origin = PathBuf::from("the adapter");
        Self { config, more: Map::new(), tensors: BTreeMap::new(), origin }
    }

    /// What the adapter is made of.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// What else is kept in the configuration file, beside the adapter's own
    /// settings.
    pub fn more(&self) -> &Map<String, Value> {
        &self.more
    }

    /// As [`AdapterState::more`], to be changed.
    pub fn more_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.more
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Adds a copy of a whole tensor that belongs to the adapter.
    ///
    /// # Errors
    /// [`Error::Torch`] if memory runs out.
    pub fn add_tensor(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let tensor = tensor.f_detach()?.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
        let mut copy = tensor.f_empty_like()?;
        copy.f_copy_(&tensor)?;
        self.tensors.insert(name.to_owned(), copy);
        Ok(())
    }

    /// Takes out a whole tensor that belongs to the adapter.
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
        let mut get = |name: String, shape: [i64; 2]| match self.tensors.remove(&name) {
            None => {
                problems.push(format!("{name} is missing"));
                None
            }
            Some(tensor) if tensor.size() != shape => {
                let size = tensor.size();
                problems.push(format!("{name} has shape {size:?}, the model needs {shape:?}"));
                None
            }
            found => found,
        };
        match (get(a_name(layer), a_shape), get(b_name(layer), b_shape)) {
            (Some(a), Some(b)) => Ok((a, b)),
            _ => Err(Error::Mismatch { path: self.origin.clone(), problems }),
        }
    }

    /// Refuses tensors that nothing took: they belong to another model.
    pub(crate) fn all_taken(&self) -> Result<()> {
        if self.tensors.is_empty() {
            return Ok(());
        }
        let problems = self.tensors.keys().map(|name| format!("{name} has no place in it"));
        Err(Error::Mismatch { path: self.origin.clone(), problems: problems.collect() })
    }

    /// Writes the two files into `folder`, which is made if missing. Each file
    /// is whole or not there: it is written under another name first.
    ///
    /// # Errors
    /// [`Error::Write`] names the file that could not be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)
            .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
        let path = folder.join(WEIGHTS_FILE);
        write_atomically(&path, &self.serialize(&path)?)?;

        let path = folder.join(CONFIG_FILE);
        let file = ConfigFile { lora: self.config.clone(), more: self.more.clone() };
        let mut text = serde_json::to_string_pretty(&file)
            .map_err(|error| Error::Format { path: path.clone(), reason: error.to_string() })?;
        text.push('\n');
        write_atomically(&path, text.as_bytes())
    }

    /// The bytes of the weight file; `path` is for messages.
    fn serialize(&self, path: &Path) -> Result<Vec<u8>> {
        let failed = |reason: String| Error::Format { path: path.to_owned(), reason };
        let mut stored = Vec::new();
        for (name, tensor) in &self.tensors {
            stored.push((name, tensor.size(), bytes_of(tensor)?));
        }
        let mut views = Vec::new();
        for (name, size, bytes) in &stored {
            let size = size.iter().map(|&size| size as usize).collect();
            let view = TensorView::new(Dtype::F32, size, bytes)
                .map_err(|error| failed(format!("{name} cannot be stored: {error}")))?;
            views.push((name, view));
        }
        // Readers of the Python world ask which framework wrote the tensors.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(metadata))
            .map_err(|error| failed(format!("cannot be stored: {error}")))
    }

    /// Reads the adapter in `folder`.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Format`] name the file at fault.
    pub fn load(folder: &Path) -> Result<Self> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
        };
        let path = folder.join(CONFIG_FILE);
        let file: ConfigFile = serde_json::from_slice(&read(&path)?).map_err(|error| {
            Error::Format { path, reason: format!("not an adapter configuration: {error}") }
        })?;
        let path = folder.join(WEIGHTS_FILE);
        let bytes = read(&path)?;
        let failed = |reason: String| Error::Format { path: path.clone(), reason };
        let stored = SafeTensors::deserialize(&bytes)
            .map_err(|error| failed(format!("not a whole safetensors file: {error}")))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in stored.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(failed(format!("{name} has dtype {:?}, expected F32", view.dtype())));
            }
            let size: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
            let tensor = Tensor::f_from_data_size(view.data(), &size, Kind::Float)?;
            tensors.insert(name.to_owned(), tensor);
        }
        Ok(Self { config: file.lora, more: file.more, tensors, origin: path })
    }
}

/// The numbers of a float32 CPU tensor as they lie in a file, row by row.
fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.f_contiguous()?.f_view([-1])?;
    let mut values = vec![0f32; flat.numel()];
    let count = values.len();
    flat.f_copy_data(&mut values, count)?;
    Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = AtomicWriteFile::open(path)?;
        file.write_all(bytes)?;
        file.commit()
    };
    write().map_err(|source| Error::Write { path: path.to_owned(), source })
}
