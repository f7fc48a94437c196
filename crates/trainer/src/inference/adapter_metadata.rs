//! Metadata of a saved adapter: base model, labels, and how texts are encoded.

use dataset::{PromptFormat, Quotes, Tokenizer};
use gpt2_model::{DType, Gpt2, Gpt2Config, Pooling};
use lora::LoraConfig;
use serde::{Deserialize, Serialize};

use crate::{
    config::{
        paths,
        resolve::ResolvedRun,
        settings::{PadTo, Settings},
    },
    error::Result,
    task::kind::TaskKind,
    trainable::parameters::{Head, Train},
};

/// File beside an adapter or a model with the metadata that PEFT and `transformers` do not
/// keep.
pub(crate) const METADATA_FILE: &str = "gpt2_lora.json";

/// Directory of a run with the trained adapter.
pub(crate) const ADAPTER: &str = "adapter";
/// Directory of a run with the untrained adapter.
pub(crate) const INITIAL_ADAPTER: &str = "adapter_init";

/// Metadata of a saved adapter or model, stored in `gpt2_lora.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterMetadata {
    /// Task of the training.
    #[serde(default)]
    pub task: TaskKind,
    /// Base model of the training: its name on the Hugging Face hub, which has a slash, or the
    /// name of its folder. The path is not published with the adapter; it is in `run.toml`.
    pub base_model: String,
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
    /// Fingerprint of the tokenizer ([`Tokenizer::fingerprint`]); `None` for GPT-2's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
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
    /// Training mode of the head.
    #[serde(default)]
    pub head: Head,
    /// Treatment of quotation marks around a text.
    #[serde(default = "kept")]
    pub quotes: Quotes,
    /// Settings of the adapter, in whose terms its file is read: PEFT does not know adapters on
    /// query, key or value alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Schema and template of the examples of a language model; `None` for plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PromptFormat>,
    /// Bias of the head, if the file of the adapter has it in the final norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_bias: Option<Vec<f64>>,
}

/// Weights of a base model.
#[derive(Clone, Debug)]
pub(crate) struct BaseWeights {
    /// Their digest.
    pub digest: String,
    /// Data type of their file.
    pub dtype: DType,
}

impl BaseWeights {
    /// Describes the weights of a model that was just loaded, before they are rounded.
    pub(crate) fn of(body: &Gpt2) -> Result<Self> {
        Ok(Self { digest: body.digest()?, dtype: body.stored_dtype() })
    }
}

fn kept() -> Quotes {
    Quotes::Keep
}

impl AdapterMetadata {
    /// Returns the metadata of the adapter of a run.
    pub(crate) fn of_run(
        run: &ResolvedRun,
        base: &BaseWeights,
        tokenizer: &Tokenizer,
        labels: &[String],
        max_length: usize,
    ) -> Self {
        let Settings { task, random_init, data, adapter, training, machine, .. } = &run.settings;
        Self {
            task: *task,
            base_model: paths::name_of(&run.model),
            base_seed: random_init.then_some(training.seed),
            base_digest: Some(base.digest.clone()),
            base_dtype: Some(base.dtype),
            tokenizer: tokenizer.fingerprint().map(str::to_owned),
            labels: labels.to_vec(),
            pooling: training.pooling,
            pad_to: training.padding(),
            max_length,
            dtype: machine.dtype,
            head: adapter.head,
            quotes: data.quotes,
            lora: (run.settings.train == Train::Lora).then(|| run.lora.plain()),
            prompts: None,
            head_bias: None,
        }
    }

    /// Returns the name of the base model on the Hugging Face hub, if it is there.
    pub(crate) fn published_base(&self) -> Option<&str> {
        let is_published = self.base_seed.is_none() && self.base_model.contains('/');
        is_published.then_some(self.base_model.as_str())
    }

    /// Returns the name of the base model for PEFT, which looks for a folder of this name, then on
    /// the hub. `None` where it would find another model.
    pub(crate) fn base_for_peft(&self) -> Option<&str> {
        let is_other = self.base_seed.is_some() || Gpt2Config::NAMES.contains(&&*self.base_model);
        (!is_other).then_some(self.base_model.as_str())
    }

    /// Returns the metadata of a model that an adapter was merged into.
    pub(crate) fn merged(self) -> Self {
        Self {
            head: Head::Full,
            base_seed: None,
            base_digest: None,
            lora: None,
            head_bias: None,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_published_models_have_their_names_on_the_hub() {
        let metadata = |base: &str, seed: Option<u32>| -> AdapterMetadata {
            let json = serde_json::json!({
                "base_model": base, "base_seed": seed, "labels": ["a", "b"],
                "pooling": "last-token", "pad_to": "none", "max_length": 8,
            });
            serde_json::from_value(json).unwrap()
        };
        let published = Some("openai-community/gpt2");
        for (base, seed, on_hub, for_peft) in [
            ("openai-community/gpt2", None, published, published),
            ("openai-community/gpt2", Some(1), None, None),
            ("pocket", None, None, Some("pocket")),
            ("gpt2", None, None, None),
        ] {
            let metadata = metadata(base, seed);
            assert_eq!((metadata.published_base(), metadata.base_for_peft()), (on_hub, for_peft));
        }
    }
}
