//! Writing a model in the Hugging Face layout of GPT-2.

use std::{
    collections::HashMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use atomic_write_file::AtomicWriteFile;
use safetensors::{Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use crate::{
    classifier::Gpt2Classifier,
    error::{Error, Result},
    finite::is_finite,
    labels::entries,
    model::Gpt2,
};

/// How the numbers of a weight file are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageType {
    /// Four bytes a number, as computed.
    #[default]
    Float32,
    /// Two bytes a number.
    Float16,
}

impl Gpt2 {
    /// Writes `config.json` and `model.safetensors` into `folder`, which is made
    /// if missing, as `transformers` reads them (`GPT2LMHeadModel`). Each file is
    /// whole or not there.
    ///
    /// # Errors
    /// [`Error::Write`] names the file that could not be written;
    /// [`Error::Format`] a number that float16 cannot hold.
    pub fn save(&self, folder: &Path, storage: StorageType) -> Result<()> {
        fs::create_dir_all(folder)
            .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
        let path = folder.join("model.safetensors");
        write(&path, &weight_file(&path, self.stored("")?, storage)?)?;
        self.write_config(&folder.join("config.json"), "GPT2LMHeadModel", Map::new())
    }

    /// Every parameter under the name that it has in a file, below `prefix`, and as
    /// it lies there.
    fn stored(&self, prefix: &str) -> Result<Vec<(String, Tensor)>> {
        let stored = |(name, value): (String, Tensor)| {
            // GPT-2 stores its linear layers as [in, out].
            let is_linear = name.starts_with("h.") && value.dim() == 2;
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
        let failed = |error: serde_json::Error| Error::Format {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut config = serde_json::to_value(self.config()).map_err(failed)?;
        if let Value::Object(entries) = &mut config {
            entries.insert("architectures".to_owned(), json!([architecture]));
            // The last token of GPT-2's vocabulary ends and begins texts.
            let end = self.config().vocab_size - 1;
            entries.insert("bos_token_id".to_owned(), json!(end));
            entries.insert("eos_token_id".to_owned(), json!(end));
            entries.append(&mut more);
        }
        let mut text = serde_json::to_string_pretty(&config).map_err(failed)?;
        text.push('\n');
        write(path, text.as_bytes())
    }
}

impl Gpt2Classifier {
    /// Writes `config.json` and `model.safetensors` into `folder`, which is made if
    /// missing, as `transformers` reads them (`GPT2ForSequenceClassification`), with
    /// a label for each class. Rows are padded with the last token of the
    /// vocabulary there. Each file is whole or not there.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is not one label a class, or if the head has a
    /// bias, which that model has no place for; else as [`Gpt2::save`].
    pub fn save(&self, folder: &Path, storage: StorageType, labels: &[String]) -> Result<()> {
        let head = self.score();
        let classes = head.weight().size2()?.0;
        if labels.len() as i64 != classes {
            return Err(Error::Argument(format!("{} labels for {classes} classes", labels.len())));
        }
        if head.bias().is_some() {
            return Err(Error::Argument(
                "transformers has no place for the bias of the head; put it into the final norm \
                 first"
                    .to_owned(),
            ));
        }
        fs::create_dir_all(folder)
            .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
        let path = folder.join("model.safetensors");
        let mut tensors = self.body().stored("transformer.")?;
        tensors.push(("score.weight".to_owned(), head.weight().shallow_clone()));
        write(&path, &weight_file(&path, tensors, storage)?)?;

        let mut more = entries(labels);
        more.insert("pad_token_id".to_owned(), json!(self.body().config().vocab_size - 1));
        let path = folder.join("config.json");
        self.body().write_config(&path, "GPT2ForSequenceClassification", more)
    }
}

/// The bytes of a weight file; `path` is for messages.
fn weight_file(
    path: &Path,
    tensors: Vec<(String, Tensor)>,
    storage: StorageType,
) -> Result<Vec<u8>> {
    let failed = |reason: String| Error::Format { path: path.to_owned(), reason };
    let (kind, dtype) = match storage {
        StorageType::Float32 => (Kind::Float, Dtype::F32),
        StorageType::Float16 => (Kind::Half, Dtype::F16),
    };
    let mut stored = Vec::new();
    for (name, value) in tensors {
        let value = value.f_detach()?.f_to_kind(kind)?;
        if !is_finite(&value)? {
            return Err(failed(format!("{name} has a number that {dtype:?} cannot hold")));
        }
        let shape: Vec<usize> = value.size().iter().map(|&size| size as usize).collect();
        stored.push((name, shape, tensor_bytes(&value)?));
    }
    let views = stored.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(dtype, shape.clone(), bytes)
            .map_err(|error| failed(format!("{name} cannot be stored: {error}")))?;
        Ok((name.as_str(), view))
    });
    let views: Vec<(&str, TensorView<'_>)> = views.collect::<Result<_>>()?;
    // Readers of the Python world ask which framework wrote the tensors.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata))
        .map_err(|error| failed(format!("cannot be stored: {error}")))
}

/// The numbers of a tensor as they lie in a file, row by row.
///
/// # Errors
/// [`Error::Torch`] if memory runs out.
pub fn tensor_bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1])?;
    let size = flat.numel() * flat.kind().elt_size_in_bytes();
    let mut bytes = vec![0u8; size];
    flat.f_view_dtype(Kind::Uint8)?.f_copy_data(&mut bytes, size)?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = AtomicWriteFile::open(path)?;
        file.write_all(bytes)?;
        file.commit()
    };
    write().map_err(|source| Error::Write { path: PathBuf::from(path), source })
}
