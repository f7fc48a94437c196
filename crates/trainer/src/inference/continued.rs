//! Continued training of a saved adapter.

use std::{fs, path::Path};

use dataset::{PromptFormat, TorchRng};
use gpt2_model::{DType, Gpt2, Gpt2Classifier, Linear, LinearLayer};
use lora::{AdapterState, Injector};
use serde_json::{Value, json};
use tch::Tensor;

use crate::{
    config::{layers::Layer, settings::AdapterSettings},
    error::{Error, Result},
    inference::{
        BaseWeights,
        attached::Parts,
        error::AdapterError,
        language_model::LanguageModelParts,
        saved_adapter::{SavedAdapter, adapts_head},
    },
    label_list::quoted,
    task::kind::TaskKind,
    trainable::parameters::Head,
};

/// Adapter whose training continues, and the model that it belongs to.
pub(crate) struct StartingAdapter {
    pub body: Gpt2,
    /// `None` for a language model.
    pub head: Option<Linear>,
    pub state: AdapterState,
    /// Parameters of the body that the adapter replaces, as in its file.
    pub replaced: Vec<(String, Tensor)>,
    pub notes: Vec<String>,
}

/// Returns the SHA-256 of the checksums of an adapter's files, in hexadecimal.
pub(crate) fn adapter_digest(folder: &Path) -> Result<String> {
    let entries = fs::read_dir(folder).map_err(storage::Error::read(folder))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| {
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        ["json", "safetensors", "bin", "txt"].contains(&ending)
    });
    files.sort();
    let sums = files.iter().map(|file| storage::sha256_file(file));
    Ok(storage::sha256(sums.collect::<storage::Result<Vec<_>>>()?.concat().as_bytes()))
}

impl SavedAdapter {
    /// Settings of a training that continues this adapter, by option name: what the adapter
    /// decides.
    ///
    /// # Errors
    /// [`AdapterError::CompleteModel`].
    pub fn decided_settings(&self) -> Result<Layer> {
        let Some(state) = &self.state else {
            let advice = "continue its training with --model";
            return Err(
                AdapterError::CompleteModel { directory: self.folder.clone(), advice }.into()
            );
        };
        let mut settings = AdapterSettings::default();
        let trained = self.metadata.as_ref().and_then(|metadata| metadata.lora.as_ref());
        settings.set_lora(trained.unwrap_or(state.config()));
        if self.task == TaskKind::Classify {
            settings.head = self.head();
        }
        let mut layer = match serde_json::to_value(settings) {
            Ok(Value::Object(layer)) => layer,
            _ => Layer::new(),
        };
        for name in ["adapter", "labels", "lora-plus-ratio"] {
            layer.remove(name);
        }
        layer.insert("task".to_owned(), json!(self.task));
        Ok(layer)
    }

    /// Format of the examples of the training; `None` for plain text and for an adapter of PEFT.
    pub fn prompt_format(&self) -> Option<PromptFormat> {
        self.metadata.as_ref()?.prompts.clone()
    }

    /// Settings that suit a training that continues this adapter, which options override. The
    /// base model is looked for unless `has_model`.
    ///
    /// # Errors
    /// [`AdapterError::UnnamedBase`], [`AdapterError::MissingBase`].
    pub fn suggested_settings(&self, has_model: bool) -> Result<Layer> {
        let mut layer = Layer::new();
        if !has_model {
            let base = self.base_of_training()?;
            layer.insert("model".to_owned(), json!(base.display().to_string()));
        }
        let Some(metadata) = &self.metadata else { return Ok(layer) };
        if let Some(seed) = metadata.base_seed {
            layer.insert("random-init".to_owned(), json!(true));
            layer.insert("seed".to_owned(), json!(seed));
        }
        layer.insert("dtype".to_owned(), json!(metadata.dtype));
        if metadata.task == TaskKind::Classify {
            layer.insert("pooling".to_owned(), json!(metadata.pooling));
            layer.insert("quotes".to_owned(), json!(metadata.quotes));
        }
        Ok(layer)
    }

    /// Prepares the training on `body`, the model in the folder `base`, which had these
    /// `weights` before they were rounded, and on data with these
    /// labels, whose order becomes the order of the classes. An adapter on the head was merged
    /// into it and gets a new one, with an `A` from `rng` and a `B` of zeros.
    ///
    /// # Errors
    /// [`AdapterError::OtherLabels`]; as
    /// [`SavedAdapter::attach`].
    pub fn start(
        mut self,
        body: Gpt2,
        base: &Path,
        weights: &BaseWeights,
        labels: &[String],
        rng: &mut TorchRng,
    ) -> Result<StartingAdapter> {
        let folder = self.folder.clone();
        self.tokenizer_of(base)?;
        let no_adapter = || Error::Internal("a complete model is continued as an adapter");
        if self.task == TaskKind::LanguageModel {
            let LanguageModelParts { body, state, replaced, notes } =
                self.language_model_parts(body, base, DType::Float32, Some(weights))?;
            let state = state.ok_or_else(no_adapter)?;
            return Ok(StartingAdapter { body, head: None, state, replaced, notes });
        }
        let is_named = self.metadata.is_some() || !self.labels.is_empty();
        let Parts { body, mut head, state, replaced, metadata, mut notes, .. } =
            self.parts(body, base, DType::Float32, Some(weights))?;
        let mut state = state.ok_or_else(no_adapter)?;
        let order = match order(&metadata.labels, labels) {
            Some(order) => order,
            None if !is_named && metadata.labels.len() == labels.len() => {
                notes.push(format!(
                    "the adapter does not name its classes; they are taken to be {} in this order",
                    quoted(labels)
                ));
                (0..).take(labels.len()).collect()
            }
            None => {
                return Err(AdapterError::OtherLabels {
                    directory: folder,
                    expected: metadata.labels,
                    given: labels.to_vec(),
                }
                .into());
            }
        };
        let order = Tensor::f_from_slice(&order)?;
        let select = |rows: &Tensor| rows.f_index_select(0, &order.f_to_device(rows.device())?);
        head = Linear::new(select(head.weight())?, head.bias().map(select).transpose()?);
        for name in ["score.lora_B.weight", "score.lora_magnitude_vector"] {
            if let Some(rows) = state.take_tensor(name) {
                state.add_tensor(name, &select(&rows)?)?;
            }
        }
        let trained = metadata.lora.filter(|_| metadata.head == Head::Lora && !adapts_head(&state));
        let config = trained.map(|trained| trained.of_layer(Gpt2Classifier::HEAD)).transpose()?;
        if let Some(config) = config.flatten() {
            let mut injector = Injector::new(config, rng)?;
            injector.adapt(Gpt2Classifier::HEAD, &[], head.weight(), None)?;
            state.extend(injector.finish()?.state()?)?;
        }
        Ok(StartingAdapter { body, head: Some(head), state, replaced, notes })
    }
}

/// Returns the classes of `trained` in the order of `labels`; `None` if the two are not the
/// same labels.
fn order(trained: &[String], labels: &[String]) -> Option<Vec<i64>> {
    let class = |label: &String| {
        let class = trained.iter().position(|trained| trained == label)?;
        i64::try_from(class).ok()
    };
    (trained.len() == labels.len()).then(|| labels.iter().map(class).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_labels_of_the_data() {
        let labels = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(order(&labels("b a c"), &labels("a b c")), Some(vec![1, 0, 2]));
        assert_eq!(order(&labels("a b"), &labels("a b")), Some(vec![0, 1]));
        for other in ["a", "a b c", "a c"] {
            assert_eq!(order(&labels("a b"), &labels(other)), None, "{other}");
        }
    }
}
