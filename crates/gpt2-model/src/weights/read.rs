//! Reading of weight files in the Hugging Face layout of GPT-2, which stores the weights
//! of linear layers as `[in, out]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
};

use memmap2::Mmap;
use safetensors::{SafeTensors, tensor::TensorView};
use tch::{Device, Kind, Tensor};

use crate::{
    config::Gpt2Config,
    dtype::DType,
    error::{Error, Result},
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

/// Maps a weight file into memory.
fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(storage::Error::read(path))?;
    // SAFETY: the map is read only. Changing a weight file while the program runs gives
    // wrong numbers or a signal, as with every memory-mapped file.
    Ok(unsafe { Mmap::map(&file) }.map_err(storage::Error::read(path))?)
}

/// Parses a weight file; `path` is for messages.
fn tensors_of<'a>(map: &'a Mmap, path: &Path) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(map).map_err(|error| Error::Format {
        path: path.to_owned(),
        reason: format!("not a whole safetensors file ({error}); fetch it again"),
    })
}

/// Converts the stored tensor `name` to float32 on `device`; `path` is for messages.
fn float_of(
    view: &TensorView<'_>,
    shape: &[i64],
    dtype: DType,
    device: Device,
    (path, name): (&Path, &str),
) -> Result<Tensor> {
    let stored = Tensor::f_from_data_size(view.data(), shape, dtype.kind())?;
    let stored = stored.f_to_kind(Kind::Float)?;
    if !is_finite(&stored)? {
        return Err(Error::Format {
            path: path.to_owned(),
            reason: format!("{name} has a NaN or infinite value; fetch the file again"),
        });
    }
    Ok(stored.f_to_device(device)?)
}

/// Reads a weight file and converts it to float32 on `device`. The number format is
/// float32 only if all tensors are stored in it.
pub(crate) fn load(path: &Path, config: &Gpt2Config, device: Device) -> Result<(Weights, DType)> {
    let map = map(path)?;
    let tensors = tensors_of(&map, path)?;
    let mut problems = Vec::new();
    let mut found: BTreeMap<&str, TensorView<'_>> = BTreeMap::new();
    for (name, view) in tensors.iter() {
        let name = name.strip_prefix("transformer.").unwrap_or(name);
        if found.insert(name, view).is_some() {
            problems
                .push(format!("{name} is stored twice, with and without the prefix transformer."));
        }
    }

    let expected = expected(config);
    problems.extend(compare(&expected, &found));
    if !problems.is_empty() {
        return Err(Error::Tensors { path: path.to_owned(), problems });
    }
    let (mut weights, mut stored) = (Weights::new(), DType::Float32);
    for (name, shape) in expected {
        if let Some(view) = found.get(name.as_str()) {
            let dtype = dtype_of(view).ok_or_else(|| Error::Format {
                path: path.to_owned(),
                reason: format!("{name} has an unsupported dtype, {:?}", view.dtype()),
            })?;
            if dtype != DType::Float32 {
                stored = dtype;
            }
            let tensor = float_of(view, &shape, dtype, device, (path, &name))?;
            weights.insert(name, tensor);
        }
    }
    Ok((weights, stored))
}

/// Returns one sentence for each missing, extra, wrongly shaped or wrongly typed tensor,
/// and for a head that is not tied.
fn compare(expected: &[(String, Vec<i64>)], found: &BTreeMap<&str, TensorView<'_>>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, shape) in expected {
        let Some(view) = found.get(name.as_str()) else {
            problems.push(format!("{name} is missing"));
            continue;
        };
        if !view.shape().iter().map(|&size| size as i64).eq(shape.iter().copied()) {
            problems.push(format!("{name} has shape {:?}, expected {shape:?}", view.shape()));
        }
        if dtype_of(view).is_none() {
            problems
                .push(format!("{name} has dtype {:?}, expected F32, F16 or BF16", view.dtype()));
        }
    }
    let names: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    for name in found.keys() {
        if !names.contains(name) && !is_ignored(name) {
            problems.push(format!("{name} is not a tensor of this model"));
        }
    }
    if let (Some(head), Some(wte)) = (found.get(LM_HEAD), found.get("wte.weight"))
        && head.data() != wte.data()
    {
        problems.push(format!(
            "{LM_HEAD} differs from wte.weight; only GPT-2's tied head is supported"
        ));
    }
    problems
}

/// Language-model head, which is `wte` in GPT-2.
const LM_HEAD: &str = "lm_head.weight";

/// Weight of the classification head in the file of a classifier.
pub(crate) const HEAD_WEIGHT: &str = "score.weight";

/// Reads the classification head `[classes, dim]` of a weight file as float32, if the
/// file has one.
pub(crate) fn load_head(path: &Path, dim: i64, device: Device) -> Result<Option<Tensor>> {
    let failed = |reason: String| Error::Format { path: path.to_owned(), reason };
    let map = map(path)?;
    let tensors = tensors_of(&map, path)?;
    let Ok(view) = tensors.tensor(HEAD_WEIGHT) else { return Ok(None) };
    let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    let (Some(dtype), &[_, width]) = (dtype_of(&view), shape.as_slice()) else {
        return Err(failed(format!(
            "{HEAD_WEIGHT} has shape {shape:?} and dtype {:?}",
            view.dtype()
        )));
    };
    if width != dim {
        return Err(failed(format!(
            "{HEAD_WEIGHT} has shape {shape:?}, expected [classes, {dim}]"
        )));
    }
    Ok(Some(float_of(&view, &shape, dtype, device, (path, HEAD_WEIGHT))?))
}

/// Returns whether a tensor does not belong to the body: causal-mask buffers of old
/// files, the tied head's copy of `wte`, and the head of a classifier.
fn is_ignored(name: &str) -> bool {
    let mask = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')).is_some_and(
        |(layer, buffer)| {
            layer.parse::<u32>().is_ok() && matches!(buffer, "attn.bias" | "attn.masked_bias")
        },
    );
    mask || name == LM_HEAD || name == HEAD_WEIGHT
}

fn dtype_of(view: &TensorView<'_>) -> Option<DType> {
    DType::ALL.into_iter().find(|dtype| dtype.stored() == view.dtype())
}
