//! Tensors of a weight file in the Hugging Face layout of GPT-2, which stores the weights of
//! linear layers as `[in, out]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use safetensors::Dtype;
use tensor_files::{StoredTensor, TensorFiles};

use crate::{config::Gpt2Config, error::TensorProblem};

/// Token embedding.
const WTE: &str = "wte.weight";

/// Language-model head, which is `wte` in the published models.
pub const LM_HEAD: &str = "lm_head.weight";

/// Weight of the classification head in the file of a classifier.
pub const HEAD_WEIGHT: &str = "score.weight";

/// Number formats that weights may have.
const NUMBER_FORMATS: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];

/// Prefixes of wrappers around the body of a model.
const PREFIXES: [&str; 4] = ["_orig_mod.", "module.", "model.", "transformer."];

/// Heads of other tasks than language modeling.
const OTHER_HEADS: [&str; 6] =
    ["score", "classifier", "qa_outputs", "multiple_choice_head", "summary", "v_head"];

/// Returns the name of every tensor of the body of a model and its shape in the file.
pub fn expected(config: &Gpt2Config) -> Vec<(String, Vec<i64>)> {
    let (dim, inner) = (config.n_embd, config.inner());
    let mut all = vec![
        (WTE.to_owned(), vec![config.vocab_size, dim]),
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
pub fn weight_file(folder: &Path) -> PathBuf {
    tensor_files::find(folder, &["model", "pytorch_model"])
        .unwrap_or_else(|| folder.join("model.safetensors"))
}

/// Returns a tensor's name without the prefixes of wrappers.
pub fn unwrapped(mut name: &str) -> &str {
    while let Some(inner) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = inner;
    }
    name
}

/// Tensors of the body of a model in a weight file.
#[derive(Debug)]
pub struct Body<'a> {
    /// Stored name and tensor, by the name without prefixes.
    pub tensors: BTreeMap<&'a str, (&'a str, StoredTensor<'a>)>,
    /// Tensors of heads of other tasks, which are ignored.
    pub other_heads: Vec<&'a str>,
    /// Everything that does not fit the configuration.
    pub problems: Vec<TensorProblem>,
}

impl<'a> Body<'a> {
    /// Finds the tensors of a configuration in a weight file.
    pub fn find(files: &'a TensorFiles, config: &Gpt2Config) -> Self {
        let mut problems = Vec::new();
        let mut tensors: BTreeMap<&str, (&str, StoredTensor<'_>)> = BTreeMap::new();
        for stored_name in files.names() {
            let name = unwrapped(stored_name);
            if let Some(stored) = files.get(stored_name)
                && tensors.insert(name, (stored_name, stored)).is_some()
            {
                problems.push(TensorProblem::Twice { name: name.to_owned() });
            }
        }
        let is_other_head =
            |name: &&str| OTHER_HEADS.iter().any(|head| name.split('.').next() == Some(head));
        let other_heads = tensors.keys().copied().filter(is_other_head).collect();
        tensors.retain(|name, _| !is_other_head(name));
        let mut body = Self { tensors, other_heads, problems };
        body.compare(config);
        body
    }

    /// Adds one problem for each missing, extra, wrongly shaped or wrongly typed tensor, and for a
    /// head that is not tied.
    fn compare(&mut self, config: &Gpt2Config) {
        let expected = expected(config);
        for (name, shape) in &expected {
            let Some((_, stored)) = self.tensors.get(name.as_str()) else {
                self.problems.push(TensorProblem::Missing { name: name.clone() });
                continue;
            };
            self.problems.extend(shape_problem(name, shape, stored.shape));
            self.problems.extend(format_problem(name, stored.dtype));
        }
        let names: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        for name in self.tensors.keys() {
            if !names.contains(name) && !is_ignored(name) {
                self.problems.push(TensorProblem::Unknown { name: (*name).to_owned() });
            }
        }
        if let (Some((_, head)), Some((_, wte))) =
            (self.tensors.get(LM_HEAD), self.tensors.get(WTE))
        {
            let shape = [config.vocab_size, config.n_embd];
            match shape_problem(LM_HEAD, &shape, head.shape) {
                None if !config.tie_word_embeddings => {
                    self.problems.extend(format_problem(LM_HEAD, head.dtype));
                }
                None if head.bytes != wte.bytes => self.problems.push(TensorProblem::UntiedHead),
                problem => self.problems.extend(problem),
            }
        }
    }
}

/// Returns the problem of a tensor in another number format.
fn format_problem(name: &str, dtype: Dtype) -> Option<TensorProblem> {
    let name = name.to_owned();
    (!NUMBER_FORMATS.contains(&dtype)).then_some(TensorProblem::DType { name, dtype })
}

/// Returns the problem of a tensor of another shape.
fn shape_problem(name: &str, expected: &[i64], shape: &[usize]) -> Option<TensorProblem> {
    if shape.iter().map(|&size| size as i64).eq(expected.iter().copied()) {
        return None;
    }
    let name = name.to_owned();
    Some(match (expected, shape) {
        // A tokenizer with added tokens, most of the time: the reader needs the setting's name.
        ([vocab_size, dim], [rows, width])
            if [WTE, LM_HEAD].contains(&&*name) && *width as i64 == *dim =>
        {
            TensorProblem::Vocabulary { name, rows: *rows, vocab_size: *vocab_size }
        }
        _ => TensorProblem::Shape { name, expected: expected.to_vec(), shape: shape.to_vec() },
    })
}

/// Returns whether a tensor does not belong to the body: causal-mask buffers of old
/// files, and the language-model head, which may be a copy of `wte`.
fn is_ignored(name: &str) -> bool {
    let mask = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')).is_some_and(
        |(layer, buffer)| {
            layer.parse::<u32>().is_ok() && matches!(buffer, "attn.bias" | "attn.masked_bias")
        },
    );
    mask || name == LM_HEAD
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    const CONFIG: &str =
        r#"{"vocab_size": 5, "n_positions": 3, "n_embd": 2, "n_layer": 1, "n_head": 1}"#;

    /// Problems of a weight file that has these tensors of zeros too, or instead.
    fn problems(changes: &[(&str, &[usize])]) -> Vec<TensorProblem> {
        let config = Gpt2Config::from_json(CONFIG).unwrap();
        let size = |size: i64| size as usize;
        let mut shapes: BTreeMap<String, Vec<usize>> = expected(&config)
            .into_iter()
            .map(|(name, shape)| (name, shape.into_iter().map(size).collect()))
            .collect();
        shapes.extend(changes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())));
        let zeros = [0; 4096];
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let bytes = &zeros[..4 * shape.iter().product::<usize>()];
            (name, TensorView::new(Dtype::F32, shape, bytes).unwrap())
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
        assert_eq!(weight_file(folder.path()), path);
        Body::find(&TensorFiles::open(&path).unwrap(), &config).problems
    }

    #[test]
    fn size_of_the_vocabulary_is_named() {
        assert_eq!(problems(&[]), []);
        assert_eq!(problems(&[(LM_HEAD, &[5, 2])]), []);
        for name in [WTE, LM_HEAD] {
            let (rows, vocab_size) = (6, 5);
            let problem = TensorProblem::Vocabulary { name: name.to_owned(), rows, vocab_size };
            assert!(problems(&[(name, &[6, 2])]).contains(&problem), "{name}");
            let (expected, shape) = (vec![5, 2], vec![5, 3]);
            let problem = TensorProblem::Shape { name: name.to_owned(), expected, shape };
            assert!(problems(&[(name, &[5, 3])]).contains(&problem), "{name}");
        }
    }
}
