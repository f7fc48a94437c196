//! Reading of weight files in the Hugging Face layout of GPT-2.

use std::{collections::BTreeMap, path::Path};

use gpt2_config::{Body, Gpt2Config, HEAD_WEIGHT, LM_HEAD, expected, unwrapped, weight_file};
use tch::{Device, Kind, Tensor};
use tensor_files::{StoredTensor, TensorFiles};

use crate::{
    dtype::DType,
    error::{Error, FormatProblem, Result},
    tensor::is_finite,
};

/// Tensors of a model by name, without the `transformer.` prefix.
pub(crate) type Weights = BTreeMap<String, Tensor>;

/// Converts a stored tensor to float32 on `device`; `place` names file and tensor.
fn float_of(
    stored: &StoredTensor<'_>,
    dtype: DType,
    device: Device,
    (path, name): (&Path, &str),
) -> Result<Tensor> {
    let shape: Vec<i64> = stored.shape.iter().map(|&size| size as i64).collect();
    let tensor = Tensor::f_from_data_size(&stored.bytes, &shape, dtype.kind())?;
    let tensor = tensor.f_to_kind(Kind::Float)?;
    if !is_finite(&tensor)? {
        return Err(Error::Format {
            path: path.to_owned(),
            problem: FormatProblem::NotFinite { tensor: name.to_owned() },
        });
    }
    Ok(tensor.f_to_device(device)?)
}

/// A weight file as float32 tensors.
pub(crate) struct Loaded {
    pub weights: Weights,
    /// Number format: float32 only if all tensors are stored in it.
    pub dtype: DType,
    /// Notes about what was ignored.
    pub notes: Vec<String>,
}

/// Reads the weights of a model folder and converts them to float32 on `device`.
pub(crate) fn load(folder: &Path, config: &Gpt2Config, device: Device) -> Result<Loaded> {
    let path = &weight_file(folder);
    let files = TensorFiles::open(path)?;
    let body = Body::find(&files, config);
    let notes = match body.other_heads.as_slice() {
        [] | [HEAD_WEIGHT] => Vec::new(),
        [first, others @ ..] => vec![format!(
            "{} has the head of another task ({first} and {} more tensors), which was ignored",
            path.display(),
            others.len()
        )],
    };
    if !body.problems.is_empty() {
        return Err(Error::Tensors { path: path.to_owned(), problems: body.problems });
    }
    let mut loaded = Loaded { weights: Weights::new(), dtype: DType::Float32, notes };
    let head = (!config.tie_word_embeddings).then(|| LM_HEAD.to_owned());
    for name in expected(config).into_iter().map(|(name, _)| name).chain(head) {
        if let Some((stored_name, stored)) = body.tensors.get(name.as_str()) {
            let dtype = dtype_of(stored).ok_or_else(|| Error::Format {
                path: path.to_owned(),
                problem: FormatProblem::DType { tensor: name.clone(), dtype: stored.dtype },
            })?;
            if dtype != DType::Float32 {
                loaded.dtype = dtype;
            }
            let tensor = float_of(stored, dtype, device, (path, &name))?;
            files.release(stored_name);
            loaded.weights.insert(name, tensor);
        }
    }
    Ok(loaded)
}

/// Reads the classification head `[classes, dim]` of a model folder as float32, if it has
/// one.
pub(crate) fn load_head(folder: &Path, dim: i64, device: Device) -> Result<Option<Tensor>> {
    let path = &weight_file(folder);
    let failed = |problem| Error::Format { path: path.to_owned(), problem };
    let files = TensorFiles::open(path)?;
    let mut head = None;
    for name in files.names().filter(|name| unwrapped(name).starts_with("score.")) {
        if unwrapped(name) != HEAD_WEIGHT {
            return Err(failed(FormatProblem::UnknownHeadTensor { tensor: name.to_owned() }));
        }
        head = files.get(name);
    }
    let Some(head) = head else { return Ok(None) };
    let Some(dtype) = dtype_of(&head) else {
        let (tensor, dtype) = (HEAD_WEIGHT.to_owned(), head.dtype);
        return Err(failed(FormatProblem::DType { tensor, dtype }));
    };
    if !matches!(*head.shape, [_, width] if width as i64 == dim) {
        return Err(failed(FormatProblem::HeadShape { shape: head.shape.to_vec(), width: dim }));
    }
    Ok(Some(float_of(&head, dtype, device, (path, HEAD_WEIGHT))?))
}

fn dtype_of(stored: &StoredTensor<'_>) -> Option<DType> {
    DType::ALL.into_iter().find(|dtype| dtype.stored() == stored.dtype)
}
