//! Reading of weight files in the Hugging Face layout of GPT-2, which stores the weights
//! of linear layers as `[in, out]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use tch::{Device, Kind, Tensor};
use tensor_files::{StoredTensor, TensorFiles};

use crate::{
    config::Gpt2Config,
    dtype::DType,
    error::{Error, FormatProblem, Result, TensorProblem},
    tensor::is_finite,
};

/// Tensors of a model by name, without the `transformer.` prefix.
pub(crate) type Weights = BTreeMap<String, Tensor>;

/// Returns the name of every tensor of a model and its shape in the file.
pub(crate) fn expected(config: &Gpt2Config) -> Vec<(String, Vec<i64>)> {
    let (dim, inner) = (config.n_embd, config.inner());
    let mut all = vec![
        ("wte.weight".to_owned(), vec![config.vocab_size, dim]),
        ("wpe.weight".to_owned(), vec![config.n_positions, dim]),
    ];
    for layer in 0..config.n_layer {
        let mut add = |name: &str, shape: &[i64]| {
            all.push((format!("h.{layer}.{name}"), shape.to_vec()));
        };
        for norm in ["ln_1", "ln_2"] {
            add(&format!("{norm}.weight"), &[dim]);
            add(&format!("{norm}.bias"), &[dim]);
        }
        for (linear, input, output) in [
            ("attn.c_attn", dim, 3 * dim),
            ("attn.c_proj", dim, dim),
            ("mlp.c_fc", dim, inner),
            ("mlp.c_proj", inner, dim),
        ] {
            add(&format!("{linear}.weight"), &[input, output]);
            add(&format!("{linear}.bias"), &[output]);
        }
    }
    all.push(("ln_f.weight".to_owned(), vec![dim]));
    all.push(("ln_f.bias".to_owned(), vec![dim]));
    all
}

/// Path of the weight file of a model folder: `model.safetensors`, `pytorch_model.bin`, or the
/// index of the shards of either. The first where there is none.
pub(crate) fn weight_file(folder: &Path) -> PathBuf {
    tensor_files::find(folder, &["model", "pytorch_model"])
        .unwrap_or_else(|| folder.join("model.safetensors"))
}

/// Prefixes of wrappers around the body of a model.
const PREFIXES: [&str; 4] = ["_orig_mod.", "module.", "model.", "transformer."];

/// Heads of other tasks than language modeling.
const OTHER_HEADS: [&str; 6] =
    ["score", "classifier", "qa_outputs", "multiple_choice_head", "summary", "v_head"];

/// Returns a tensor's name without the prefixes of wrappers.
fn unwrapped(mut name: &str) -> &str {
    while let Some(inner) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = inner;
    }
    name
}

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
    let mut problems = Vec::new();
    let mut found: BTreeMap<&str, (&str, StoredTensor<'_>)> = BTreeMap::new();
    for stored_name in files.names() {
        let name = unwrapped(stored_name);
        if let Some(stored) = files.get(stored_name)
            && found.insert(name, (stored_name, stored)).is_some()
        {
            problems.push(TensorProblem::Twice { name: name.to_owned() });
        }
    }
    let is_other_head =
        |name: &&str| OTHER_HEADS.iter().any(|head| name.split('.').next() == Some(head));
    let heads: Vec<&str> = found.keys().copied().filter(is_other_head).collect();
    let notes = match heads.as_slice() {
        [] | [HEAD_WEIGHT] => Vec::new(),
        [first, ..] => vec![format!(
            "{} has the head of another task ({first} and {} more tensors), which was ignored",
            path.display(),
            heads.len() - 1
        )],
    };
    found.retain(|name, _| !is_other_head(name));
    let expected = expected(config);
    problems.extend(compare(&expected, &found));
    if !problems.is_empty() {
        return Err(Error::Tensors { path: path.to_owned(), problems });
    }
    let mut loaded = Loaded { weights: Weights::new(), dtype: DType::Float32, notes };
    for (name, _) in expected {
        if let Some((stored_name, stored)) = found.get(name.as_str()) {
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

/// Returns one problem for each missing, extra, wrongly shaped or wrongly typed tensor,
/// and for a head that is not tied.
fn compare(
    expected: &[(String, Vec<i64>)],
    found: &BTreeMap<&str, (&str, StoredTensor<'_>)>,
) -> Vec<TensorProblem> {
    let mut problems = Vec::new();
    for (name, shape) in expected {
        let Some((_, view)) = found.get(name.as_str()) else {
            problems.push(TensorProblem::Missing { name: name.clone() });
            continue;
        };
        if !view.shape.iter().map(|&size| size as i64).eq(shape.iter().copied()) {
            problems.push(TensorProblem::Shape {
                name: name.clone(),
                expected: shape.clone(),
                shape: view.shape.to_vec(),
            });
        }
        if dtype_of(view).is_none() {
            problems.push(TensorProblem::DType { name: name.clone(), dtype: view.dtype });
        }
    }
    let names: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    for name in found.keys() {
        if !names.contains(name) && !is_ignored(name) {
            problems.push(TensorProblem::Unknown { name: (*name).to_owned() });
        }
    }
    if let (Some((_, head)), Some((_, wte))) = (found.get(LM_HEAD), found.get("wte.weight"))
        && head.bytes != wte.bytes
    {
        problems.push(TensorProblem::UntiedHead);
    }
    problems
}

/// Language-model head, which is `wte` in GPT-2.
const LM_HEAD: &str = "lm_head.weight";

/// Weight of the classification head in the file of a classifier.
pub(crate) const HEAD_WEIGHT: &str = "score.weight";

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

/// Returns whether a tensor does not belong to the body: causal-mask buffers of old
/// files, and the tied head's copy of `wte`.
fn is_ignored(name: &str) -> bool {
    let mask = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')).is_some_and(
        |(layer, buffer)| {
            layer.parse::<u32>().is_ok() && matches!(buffer, "attn.bias" | "attn.masked_bias")
        },
    );
    mask || name == LM_HEAD
}

fn dtype_of(stored: &StoredTensor<'_>) -> Option<DType> {
    DType::ALL.into_iter().find(|dtype| dtype.stored() == stored.dtype)
}
