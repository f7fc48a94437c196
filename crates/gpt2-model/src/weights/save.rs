//! Writing of model folders in the Hugging Face layout of GPT-2.

use std::{collections::HashMap, path::Path};

use gpt2_config::{HEAD_WEIGHT, LM_HEAD};
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};
use storage::{create_directory, write_atomic, write_json};
use tch::Tensor;

use crate::{
    classifier::Gpt2Classifier,
    dtype::DType,
    error::{ArgumentError, Error, FormatProblem, Result},
    model::gpt2::Gpt2,
    tensor::{bytes, is_finite},
    weights::labels::entries,
};

impl Gpt2 {
    /// Writes `config.json` and `model.safetensors` into `folder`, which is created if
    /// missing, as `transformers` reads them (`GPT2LMHeadModel`). Each file is complete or
    /// absent.
    ///
    /// # Errors
    /// [`Error::Storage`] names the file that could not be written;
    /// [`Error::Format`] a tensor with a value outside the range of `dtype`.
    pub fn save(&self, folder: &Path, dtype: DType) -> Result<()> {
        create_directory(folder)?;
        let path = folder.join("model.safetensors");
        // The names of the published models, or the names of a model with a head of its own.
        let prefix = if self.lm_head.is_some() { "transformer." } else { "" };
        write_atomic(&path, &weight_file(&path, self.stored(prefix)?, dtype)?)?;
        self.write_config(&folder.join("config.json"), "GPT2LMHeadModel", Map::new())
    }

    /// Returns every parameter with its name in a file, below `prefix`, and in its layout
    /// there.
    fn stored(&self, prefix: &str) -> Result<Vec<(String, Tensor)>> {
        let stored = |(name, value): (String, Tensor)| {
            // GPT-2 stores its linear layers as [in, out].
            let is_linear = name.starts_with("h.") && value.dim() == 2;
            let prefix = if name == LM_HEAD { "" } else { prefix };
            Ok((format!("{prefix}{name}"), if is_linear { value.f_tr()? } else { value }))
        };
        self.named_parameters().into_iter().map(stored).collect()
    }

    fn write_config(
        &self,
        path: &Path,
        architecture: &str,
        mut more: Map<String, Value>,
    ) -> Result<()> {
        let mut config = self.config().clone();
        config.bos_token_id = config.beginning_of_text();
        config.eos_token_id = config.ends_of_text();
        config.pad_token_id = config.pad_token_id.filter(|&id| config.has_token(id));
        let mut config =
            serde_json::to_value(config).map_err(|error| unserializable(path, &error))?;
        if let Value::Object(entries) = &mut config {
            entries.insert("architectures".to_owned(), json!([architecture]));
            entries.append(&mut more);
        }
        Ok(write_json(path, &config)?)
    }
}

impl Gpt2Classifier {
    /// Writes `config.json` and `model.safetensors` into `folder`, which is created if
    /// missing, as `transformers` reads them (`GPT2ForSequenceClassification`), with a
    /// label for each class. Each file is complete or absent.
    ///
    /// # Errors
    /// [`Error::Argument`] if the number of labels differs from the number of classes, or
    /// if the head has a bias, which that model does not support; else as
    /// [`Gpt2::save`].
    pub fn save(&self, folder: &Path, dtype: DType, labels: &[String]) -> Result<()> {
        let head = self.score();
        let classes = head.weight().size2()?.0;
        if labels.len() as i64 != classes {
            return Err(ArgumentError::LabelCount { classes, labels: labels.len() }.into());
        }
        if head.bias().is_some() {
            return Err(ArgumentError::HeadBias.into());
        }
        create_directory(folder)?;
        let path = folder.join("model.safetensors");
        let mut tensors = self.body().stored("transformer.")?;
        tensors.push((HEAD_WEIGHT.to_owned(), head.weight().shallow_clone()));
        write_atomic(&path, &weight_file(&path, tensors, dtype)?)?;

        let mut more = entries(labels);
        let padding = self.body().config().padding();
        more.extend(padding.map(|token| ("pad_token_id".to_owned(), json!(token))));
        let path = folder.join("config.json");
        self.body().write_config(&path, "GPT2ForSequenceClassification", more)
    }
}

/// Serializes a weight file; `path` is for messages.
fn weight_file(path: &Path, tensors: Vec<(String, Tensor)>, dtype: DType) -> Result<Vec<u8>> {
    let mut stored = Vec::new();
    for (name, value) in tensors {
        let value = value.f_detach()?.f_to_kind(dtype.kind())?;
        if !is_finite(&value)? {
            let problem = FormatProblem::OutOfRange { tensor: name, dtype };
            return Err(Error::Format { path: path.to_owned(), problem });
        }
        let shape: Vec<usize> = value.size().iter().map(|&size| size as usize).collect();
        stored.push((name, shape, bytes(&value)?));
    }
    let views = stored.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(dtype.stored(), shape.clone(), bytes)
            .map_err(|error| unserializable(path, &error))?;
        Ok((name.as_str(), view))
    });
    let views: Vec<(&str, TensorView<'_>)> = views.collect::<Result<_>>()?;
    // Python readers expect the name of the framework.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| unserializable(path, &error))
}

fn unserializable(path: &Path, error: &dyn std::error::Error) -> Error {
    let problem = FormatProblem::Serialize { reason: error.to_string() };
    Error::Format { path: path.to_owned(), problem }
}
