//! Weight files in the Hugging Face layout of GPT-2.
//!
//! GPT-2 stores its linear layers as `[in, out]`; they are handed on as the
//! `[out, in]` view of the same memory, which is how linear layers are spoken
//! of everywhere else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use tch::{Device, Kind, Tensor};

use crate::{
    config::Gpt2Config,
    error::{Error, Result},
    finite::is_finite,
};

/// The tensors of a model by name, without the `transformer.` prefix.
pub(crate) type Weights = BTreeMap<String, Tensor>;

/// Every tensor of a model and its shape as stored.
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

/// A weight file in memory.
fn map(path: &Path) -> Result<Mmap> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read_error)?;
    // SAFETY: the map is read only. Nobody is expected to change a weight file under
    // a running program; one who does gets wrong numbers or a signal, as with every
    // memory-mapped file.
    unsafe { Mmap::map(&file) }.map_err(read_error)
}

/// What stands in it; `path` is for messages.
fn tensors_of<'a>(map: &'a Mmap, path: &Path) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(map).map_err(|error| Error::Format {
        path: path.to_owned(),
        reason: format!("not a whole safetensors file ({error}); fetch it again"),
    })
}

/// The stored tensor `name` as float32 on `device`; `path` is for messages.
fn float_of(
    view: &TensorView<'_>,
    shape: &[i64],
    kind: Kind,
    device: Device,
    (path, name): (&Path, &str),
) -> Result<Tensor> {
    let stored = Tensor::f_from_data_size(view.data(), shape, kind)?.f_to_kind(Kind::Float)?;
    if !is_finite(&stored)? {
        return Err(Error::Format {
            path: path.to_owned(),
            reason: format!(
                "{name} holds a number that is infinite or not a number; fetch the file again"
            ),
        });
    }
    Ok(stored.f_to_device(device)?)
}

/// Reads a weight file and converts it to float32 on `device`.
pub(crate) fn load(path: &Path, config: &Gpt2Config, device: Device) -> Result<Weights> {
    let map = map(path)?;
    let tensors = tensors_of(&map, path)?;
    let mut problems = Vec::new();
    let mut found: BTreeMap<&str, TensorView<'_>> = BTreeMap::new();
    for (name, view) in tensors.iter() {
        let name = name.strip_prefix("transformer.").unwrap_or(name);
        if found.insert(name, view).is_some() {
            problems
                .push(format!("{name} is there twice, with the prefix transformer. and without"));
        }
    }

    let expected = expected(config);
    problems.extend(compare(&expected, &found));
    if !problems.is_empty() {
        return Err(Error::Tensors { path: path.to_owned(), problems });
    }
    let mut weights = Weights::new();
    for (name, shape) in expected {
        if let Some(view) = found.get(name.as_str()) {
            let kind = kind_of(view.dtype()).ok_or_else(|| Error::Format {
                path: path.to_owned(),
                reason: format!("{name} has an unsupported dtype, {:?}", view.dtype()),
            })?;
            let tensor = float_of(view, &shape, kind, device, (path, &name))?;
            weights.insert(name, tensor);
        }
    }
    Ok(weights)
}

/// One sentence for each missing, extra, wrongly shaped or wrongly typed tensor,
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
        if kind_of(view.dtype()).is_none() {
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
    if let (Some(head), Some(wte)) = (found.get(HEAD), found.get("wte.weight"))
        && head.data() != wte.data()
    {
        problems
            .push(format!("{HEAD} differs from wte.weight; only GPT-2's tied head is supported"));
    }
    problems
}

/// The language-model head, which is `wte` in GPT-2.
const HEAD: &str = "lm_head.weight";

/// The classification head, in the file of a classifier.
const SCORE: &str = "score.weight";

/// The classification head `[classes, dim]` of a weight file in float32, if it has
/// one.
pub(crate) fn load_score(path: &Path, dim: i64, device: Device) -> Result<Option<Tensor>> {
    let failed = |reason: String| Error::Format { path: path.to_owned(), reason };
    let map = map(path)?;
    let tensors = tensors_of(&map, path)?;
    let Ok(view) = tensors.tensor(SCORE) else { return Ok(None) };
    let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    let (Some(kind), &[_, width]) = (kind_of(view.dtype()), shape.as_slice()) else {
        return Err(failed(format!("{SCORE} has shape {shape:?} and dtype {:?}", view.dtype())));
    };
    if width != dim {
        return Err(failed(format!("{SCORE} has shape {shape:?}, expected [classes, {dim}]")));
    }
    Ok(Some(float_of(&view, &shape, kind, device, (path, SCORE))?))
}

/// What is no part of the body: causal-mask buffers that old files carry, the tied
/// head's copy of `wte`, and the head of a classifier.
fn is_ignored(name: &str) -> bool {
    let mask = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')).is_some_and(
        |(layer, buffer)| {
            layer.parse::<u32>().is_ok() && matches!(buffer, "attn.bias" | "attn.masked_bias")
        },
    );
    mask || name == HEAD || name == SCORE
}

fn kind_of(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F32 => Some(Kind::Float),
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        _ => None,
    }
}
