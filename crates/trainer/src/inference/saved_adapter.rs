//! Files of a saved adapter, or of a complete model.

use std::{
    collections::HashSet,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use gpt2_model::Gpt2;
use lora::{
    AdapterState,
    peft::{PeftAdapter, Slicing},
};

use crate::{
    config::paths,
    error::{Error, Result},
    inference::{
        ADAPTER, AdapterMetadata, METADATA_FILE,
        error::{AdapterError, MetadataProblem, TensorProblem},
    },
    task::kind::TaskKind,
    trainable::{adapters::PEFT_PREFIX, parameters::Head},
};

/// Contents of a directory with an adapter, or with a complete model.
#[derive(Debug)]
pub(crate) struct SavedAdapter {
    pub(super) folder: PathBuf,
    /// Name of the weight file, for messages.
    weights: &'static str,
    /// `None` for a complete model.
    pub(super) state: Option<AdapterState>,
    /// Name of the base model, if the files have it.
    pub(super) base_model: Option<String>,
    pub(super) task: TaskKind,
    /// True if the files name the task; otherwise it is taken to be classification.
    pub(super) names_task: bool,
    /// `None` without [`METADATA_FILE`].
    pub(super) metadata: Option<AdapterMetadata>,
    /// Labels that are given for an adapter that names none.
    pub(super) labels: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl SavedAdapter {
    /// Loads the adapter in a folder, or in a directory of the hub's cache.
    pub fn load(folder: &Path) -> Result<Self> {
        let folder = paths::snapshot(folder.to_owned())?;
        let config_file = folder.join(lora::CONFIG_FILE);
        if !config_file.is_file() {
            return Self::load_model(folder);
        }
        let saved = PeftAdapter::load(&folder)?;
        let metadata = read_metadata(&folder)?;
        let named = metadata.as_ref().map(|metadata| metadata.base_model.as_str());
        let base_model = named.or(saved.base_model()).map(str::to_owned);
        let task = match (&metadata, saved.task_type()) {
            (Some(metadata), _) => metadata.task,
            (None, Some("CAUSAL_LM")) => TaskKind::LanguageModel,
            (None, None | Some("SEQ_CLS")) => TaskKind::Classify,
            (None, Some(task_type)) => {
                let (path, task_type) = (config_file.clone(), task_type.to_owned());
                return Err(AdapterError::TaskType { path, task_type }.into());
            }
        };
        let names_task = metadata.is_some() || saved.task_type().is_some();
        let notes = saved.notes();
        let trained = metadata.as_ref().and_then(|metadata| metadata.lora.as_ref());
        let slicing = Slicing { trained, outputs: Gpt2::output_slices };
        let state = Some(saved.into_state(PEFT_PREFIX, &slicing)?);
        let (labels, weights) = (Vec::new(), lora::WEIGHTS_FILE);
        Ok(Self { folder, weights, state, base_model, task, names_task, metadata, labels, notes })
    }

    /// Loads the description of a complete model.
    pub(super) fn load_model(folder: PathBuf) -> Result<Self> {
        if folder.join("config.json").is_file() && Gpt2::has_weights(&folder) {
            let metadata = read_metadata(&folder)?;
            let task = metadata.as_ref().map_or(TaskKind::Classify, |metadata| metadata.task);
            return Ok(Self {
                folder,
                weights: "model.safetensors",
                state: None,
                base_model: None,
                task,
                names_task: metadata.is_some(),
                metadata,
                labels: Vec::new(),
                notes: Vec::new(),
            });
        }
        if !folder.exists() {
            return Err(AdapterError::Missing { directory: folder }.into());
        }
        if !folder.is_dir() {
            return Err(AdapterError::NotADirectory { path: folder }.into());
        }
        let (inside, model) = (folder.join(ADAPTER), folder.join("model"));
        let advice = if inside.join(lora::CONFIG_FILE).is_file() {
            format!("the adapter of that run is in {}", inside.display())
        } else if model.join("config.json").is_file() {
            format!("the model of that run is in {}", model.display())
        } else {
            "give --adapter the directory adapter of a run".to_owned()
        };
        Err(AdapterError::NotAnAdapter { directory: folder, advice }.into())
    }

    /// Names the classes of an adapter that does not. Without labels, it does nothing.
    pub fn with_labels(self, labels: &[String]) -> Result<Self> {
        let labels: Vec<_> = labels.iter().map(|label| dataset::normalize_label(label)).collect();
        let mut seen = HashSet::new();
        for (number, label) in (1..).zip(&labels) {
            if label.is_empty() {
                return Err(AdapterError::EmptyLabel { number }.into());
            }
            if !seen.insert(label) {
                return Err(AdapterError::RepeatedLabel { label: label.clone() }.into());
            }
        }
        if let Some(metadata) = self.metadata.as_ref().filter(|_| !labels.is_empty()) {
            let (path, labels) = (self.metadata_file(), metadata.labels.clone());
            return Err(AdapterError::LabelsKnown { path, labels }.into());
        }
        Ok(Self { labels, ..self })
    }

    pub(super) fn bad_tensor(&self, problem: TensorProblem) -> Error {
        AdapterError::Tensor { path: self.folder.join(self.weights), problem }.into()
    }

    /// Returns the training mode of the head.
    pub(super) fn head(&self) -> Head {
        match (&self.metadata, &self.state) {
            (Some(metadata), _) => metadata.head,
            (None, Some(state)) if adapts_head(state) => Head::Lora,
            _ => Head::Full,
        }
    }

    /// Returns the file with the metadata.
    pub(super) fn metadata_file(&self) -> PathBuf {
        self.folder.join(METADATA_FILE)
    }
}

/// Returns whether a state has an adapter on the head.
pub(super) fn adapts_head(state: &AdapterState) -> bool {
    state.tensors().keys().any(|name| name.starts_with("score.lora_"))
}

/// Reads the metadata `gpt2_lora.json` beside an adapter or a model, if it exists.
///
/// # Errors
/// [`Error::Storage`] or [`AdapterError::Metadata`] name the file.
pub fn read_metadata(folder: &Path) -> Result<Option<AdapterMetadata>> {
    let file = &folder.join(METADATA_FILE);
    let fail = |problem| AdapterError::Metadata { path: file.to_owned(), problem };
    let bytes = match storage::read_limited(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let metadata: AdapterMetadata = serde_json::from_slice(&bytes)
        .map_err(|error| fail(MetadataProblem::Json(error.to_string())))?;
    if let Some(lora) = &metadata.lora {
        lora.check().map_err(|error| fail(MetadataProblem::Lora(error.to_string())))?;
    }
    Ok(Some(metadata))
}
