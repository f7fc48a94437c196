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
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::{
    error::{Error, Result},
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
        write(&path, &self.weight_file(&path, storage)?)?;

        let path = folder.join("config.json");
        let failed = |error: serde_json::Error| Error::Format {
            path: path.clone(),
            reason: error.to_string(),
        };
        let mut config = serde_json::to_value(self.config()).map_err(failed)?;
        if let Value::Object(entries) = &mut config {
            entries.insert("architectures".to_owned(), json!(["GPT2LMHeadModel"]));
            // The last token of GPT-2's vocabulary ends and begins texts.
            let end = self.config().vocab_size - 1;
            entries.insert("bos_token_id".to_owned(), json!(end));
            entries.insert("eos_token_id".to_owned(), json!(end));
        }
        let mut text = serde_json::to_string_pretty(&config).map_err(failed)?;
        text.push('\n');
        write(&path, text.as_bytes())
    }

    fn weight_file(&self, path: &Path, storage: StorageType) -> Result<Vec<u8>> {
        let failed = |reason: String| Error::Format { path: path.to_owned(), reason };
        let mut stored = Vec::new();
        for (name, value) in self.named_parameters() {
            // GPT-2 stores its linear layers as [in, out].
            let is_linear = name.starts_with("h.") && value.dim() == 2;
            let value = if is_linear { value.f_tr()? } else { value };
            let (kind, dtype) = match storage {
                StorageType::Float32 => (Kind::Float, Dtype::F32),
                StorageType::Float16 => (Kind::Half, Dtype::F16),
            };
            let value = value.f_detach()?.f_to_kind(kind)?;
            if value.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
                return Err(failed(format!("{name} has a number that {dtype:?} cannot hold")));
            }
            let shape: Vec<usize> = value.size().iter().map(|&size| size as usize).collect();
            stored.push((name, dtype, shape, tensor_bytes(&value)?));
        }
        let views = stored.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes)
                .map_err(|error| failed(format!("{name} cannot be stored: {error}")))?;
            Ok((name.as_str(), view))
        });
        let views: Vec<(&str, TensorView<'_>)> = views.collect::<Result<_>>()?;
        // Readers of the Python world ask which framework wrote the tensors.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(metadata))
            .map_err(|error| failed(format!("cannot be stored: {error}")))
    }
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
