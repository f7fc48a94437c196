//! Metadata of a saved adapter: base model, labels, and how texts are encoded.

use std::path::PathBuf;

use dataset::Quotes;
use gpt2_model::{DType, Pooling};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    config::{
        paths,
        resolve::ResolvedRun,
        settings::{PadTo, Settings},
    },
    task::kind::TaskKind,
    trainable::parameters::Head,
};

/// File beside an adapter in PEFT's format with the metadata that PEFT does not keep.
pub(crate) const METADATA_FILE: &str = "gpt2_lora.json";

/// Metadata of a saved adapter, stored in `adapter_config.json` beside the adapter's own
/// settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterMetadata {
    /// Task of the training.
    #[serde(default)]
    pub task: TaskKind,
    /// Base model of the training: a folder, or a name below `weights/`.
    pub base_model: String,
    /// Absolute path of that folder, in case the program runs elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_folder: Option<PathBuf>,
    /// Seed of a randomly initialized base model, whose weights are in no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_seed: Option<u32>,
    /// Digest of the base model's weights ([`gpt2_model::Gpt2::digest`]); `None` for an
    /// adapter of PEFT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<String>,
    /// Data type of the base model's weight file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_dtype: Option<DType>,
    /// Labels in the order of their class numbers.
    pub labels: Vec<String>,
    /// Token whose hidden state is classified.
    pub pooling: Pooling,
    /// Length to which sequences are padded.
    pub pad_to: PadTo,
    /// Maximum sequence length in tokens; longer texts are truncated.
    pub max_length: usize,
    /// Data type to which the base model's weights were rounded in training.
    #[serde(default)]
    pub dtype: DType,
    /// How the head was trained.
    #[serde(default)]
    pub head: Head,
    /// Treatment of quotation marks around a text.
    #[serde(default = "kept")]
    pub quotes: Quotes,
}

/// Weights of a base model.
#[derive(Clone, Debug)]
pub(crate) struct BaseWeights {
    /// Their digest.
    pub digest: String,
    /// Data type of their file.
    pub dtype: DType,
}

fn kept() -> Quotes {
    Quotes::Keep
}

impl AdapterMetadata {
    /// Returns the metadata of the adapter of a run.
    pub(crate) fn of_run(
        run: &ResolvedRun,
        base: &BaseWeights,
        labels: &[String],
        max_length: usize,
    ) -> Self {
        let Settings { task, random_init, data, adapter, training, machine, .. } = &run.settings;
        Self {
            task: *task,
            base_model: paths::name_of(&run.model),
            base_folder: std::path::absolute(&run.model).ok().filter(|folder| folder.is_dir()),
            base_seed: random_init.then_some(training.seed),
            base_digest: Some(base.digest.clone()),
            base_dtype: Some(base.dtype),
            labels: labels.to_vec(),
            pooling: training.pooling,
            pad_to: training.padding(),
            max_length,
            dtype: machine.dtype,
            head: adapter.head,
            quotes: data.quotes,
        }
    }

    /// Returns the metadata as stored in a file.
    pub(crate) fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }
}
