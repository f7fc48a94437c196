//! Layouts of weight files, and malformed ones.

use std::{collections::BTreeMap, fs, path::Path};

use gpt2_model::{Error, FormatProblem, Gpt2, Gpt2Config, TensorProblem};
use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
use tch::{Device, Tensor};
use test_support::fixture;

const CONFIG: &str =
    r#"{"vocab_size": 11, "n_positions": 6, "n_embd": 4, "n_layer": 2, "n_head": 2}"#;

/// Tensors of a file: shape and values.
type Content = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Content of the hub's file of a model of this shape, with small exact values.
fn content() -> Content {
    let model = Gpt2::random(&Gpt2Config::from_json(CONFIG).unwrap(), 5, Device::Cpu).unwrap();
    let mut all = Content::new();
    for (name, tensor) in model.named_parameters() {
        // Linear layers lie in the file as [in, out].
        let linear = ["c_attn.weight", "c_proj.weight", "c_fc.weight"];
        let is_linear = linear.iter().any(|ending| name.ends_with(ending));
        let tensor = if is_linear { tensor.tr() } else { tensor };
        // Multiples of 1/1024 below 1/8 are exact in all three formats.
        let exact = ((tensor * 1024.0).round() / 1024.0).clamp(-0.1, 0.1).contiguous();
        let exact = (exact * 128.0).round() / 128.0;
        let shape = exact.size().iter().map(|&size| size as usize).collect();
        all.insert(name, (shape, Vec::try_from(exact.view(-1)).unwrap()));
    }
    all
}

fn write(folder: &Path, content: &Content, dtype: Dtype) {
    fs::write(folder.join("config.json"), CONFIG).unwrap();
    let encode = |values: &[f32]| -> Vec<u8> {
        values
            .iter()
            .flat_map(|&value| match dtype {
                Dtype::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
                Dtype::BF16 => bf16::from_f32(value).to_le_bytes().to_vec(),
                Dtype::F64 => f64::from(value).to_le_bytes().to_vec(),
                _ => value.to_le_bytes().to_vec(),
            })
            .collect()
    };
    let bytes: Vec<_> =
        content.iter().map(|(name, (shape, values))| (name, shape, encode(values))).collect();
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap()));
    serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
}

fn load(content: &Content, dtype: Dtype) -> Result<Gpt2, Error> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), content, dtype);
    Gpt2::load(folder.path(), Device::Cpu)
}

fn logits(model: &Gpt2) -> Tensor {
    model.lm_logits(&Tensor::from_slice(&[1i64, 7, 3, 10]).view([1, 4])).unwrap()
}

/// Returns the problems of a changed weight file.
#[track_caller]
fn problems(change: impl FnOnce(&mut Content)) -> Vec<TensorProblem> {
    let mut content = content();
    change(&mut content);
    match load(&content, Dtype::F32) {
        Err(Error::Tensors { path, problems }) => {
            assert!(path.ends_with("model.safetensors"), "{path:?}");
            problems
        }
        other => panic!("{other:?}"),
    }
}

/// Returns the problem of the format of a file.
#[track_caller]
fn format_problem(loaded: Result<Gpt2, Error>, file: &str) -> FormatProblem {
    match loaded {
        Err(Error::Format { path, problem }) => {
            assert!(path.ends_with(file), "{path:?}");
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_formats_and_prefixes_give_the_same_model() {
    let plain = content();
    let expected = logits(&load(&plain, Dtype::F32).unwrap());
    let prefixed = plain.iter().map(|(name, value)| (format!("transformer.{name}"), value.clone()));
    let prefixed: Content = prefixed.collect();
    for content in [&plain, &prefixed] {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            assert_eq!(logits(&load(content, dtype).unwrap()), expected);
        }
    }
}

/// Prefixes of `DistributedDataParallel`, `torch.compile` and the like.
#[test]
fn wrapper_prefixes_are_removed() {
    let expected = logits(&load(&content(), Dtype::F32).unwrap());
    for prefix in ["module.", "_orig_mod.", "model.", "module._orig_mod.transformer."] {
        let content: Content =
            content().into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)).collect();
        assert_eq!(logits(&load(&content, Dtype::F32).unwrap()), expected, "{prefix}");
    }
}

#[test]
fn heads_of_other_tasks_are_ignored_with_a_note() {
    assert!(load(&content(), Dtype::F32).unwrap().notes().is_empty());
    for head in ["classifier", "qa_outputs", "multiple_choice_head.summary", "v_head.summary"] {
        let mut content = content();
        content.insert(format!("{head}.weight"), (vec![2, 4], vec![0.5; 8]));
        content.insert(format!("transformer.{head}.bias"), (vec![2], vec![0.5; 2]));
        let model = load(&content, Dtype::F32).unwrap();
        let notes = model.notes().concat();
        assert!(notes.contains(head) && notes.contains("another task"), "{notes}");
        assert_eq!(model.notes().len(), 1);
    }
}

/// Shards of any number, in safetensors or in pickles of PyTorch.
#[test]
fn sharded_files_are_read_together() {
    let expected = logits(&load(&content(), Dtype::F32).unwrap());
    for count in [1, 2, 5] {
        let folder = tempfile::tempdir().unwrap();
        let mut map = serde_json::Map::new();
        let content: Vec<_> = content().into_iter().collect();
        for (number, shard) in content.chunks(content.len().div_ceil(count)).enumerate() {
            write(folder.path(), &shard.iter().cloned().collect(), Dtype::F32);
            let name = format!("model-{number}.safetensors");
            fs::rename(folder.path().join("model.safetensors"), folder.path().join(&name)).unwrap();
            map.extend(shard.iter().map(|(tensor, _)| (tensor.clone(), name.clone().into())));
        }
        let index = folder.path().join("model.safetensors.index.json");
        let write_index = |map: &serde_json::Map<_, _>| {
            let text = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
            fs::write(&index, text).unwrap();
        };
        write_index(&map);
        assert!(Gpt2::has_weights(folder.path()));
        let load = || Gpt2::load(folder.path(), Device::Cpu);
        assert_eq!(logits(&load().unwrap()), expected, "{count}");
        fs::rename(folder.path().join("model-0.safetensors"), folder.path().join("x")).unwrap();
        let problem = format_problem(load(), "model.safetensors.index.json");
        let (missing, shards, first) = (1, count, "model-0.safetensors".to_owned());
        let expected = tensor_files::FormatProblem::MissingShards { missing, shards, first };
        assert_eq!(problem, expected.into());
        for outside in ["../x", "/x", "a/x", ""] {
            let mut map = map.clone();
            map.insert("wte.weight".to_owned(), outside.into());
            write_index(&map);
            let problem = format_problem(load(), "model.safetensors.index.json");
            let shard = outside.to_owned();
            assert_eq!(problem, tensor_files::FormatProblem::ShardPath { shard }.into());
        }
    }
}

/// `pytorch_model.bin`, whole and with an index.
#[test]
fn pytorch_checkpoint_equals_its_model() {
    let base = fixture("peft/base");
    let expected = Gpt2::load(&base, Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(base.join("config.json"), folder.path().join("config.json")).unwrap();
    let pickle = fixture("pickles/pytorch_model.bin");
    fs::copy(&pickle, folder.path().join("pytorch_model.bin")).unwrap();
    let load = || Gpt2::load(folder.path(), Device::Cpu).unwrap();
    assert_eq!(load().digest().unwrap(), expected.digest().unwrap());
    assert_eq!(logits(&load()), logits(&expected));
    fs::rename(folder.path().join("pytorch_model.bin"), folder.path().join("one.bin")).unwrap();
    let index = r#"{"weight_map": {"ln_f.weight": "one.bin", "wte.weight": "one.bin"}}"#;
    fs::write(folder.path().join("pytorch_model.bin.index.json"), index).unwrap();
    assert_eq!(load().digest().unwrap(), expected.digest().unwrap());
}

#[test]
fn git_lfs_pointer_is_named() {
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), CONFIG).unwrap();
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 2\n";
        fs::write(folder.path().join(name), pointer).unwrap();
        let problem = format_problem(Gpt2::load(folder.path(), Device::Cpu), name);
        assert_eq!(problem, tensor_files::FormatProblem::LfsPointer.into());
    }
}

#[test]
fn mask_buffers_and_the_tied_head_are_ignored() {
    let mut content = content();
    let wte = content["wte.weight"].clone();
    content.insert("lm_head.weight".to_owned(), wte);
    content.insert("h.0.attn.bias".to_owned(), (vec![1, 1, 6, 6], vec![1.0; 36]));
    content.insert("h.1.attn.masked_bias".to_owned(), (vec![], vec![-1e4]));
    // The head of a classifier, which does not belong to the body.
    content.insert("score.weight".to_owned(), (vec![2, 4], vec![0.0; 8]));
    assert!(load(&content, Dtype::F32).is_ok());
}

#[test]
fn untied_head_and_duplicate_tensor_are_refused() {
    let untied = problems(|content| {
        content.insert("lm_head.weight".to_owned(), (vec![11, 4], vec![0.5; 44]));
    });
    assert_eq!(untied, [TensorProblem::UntiedHead]);
    let twice = problems(|content| {
        content.insert("transformer.ln_f.bias".to_owned(), (vec![4], vec![0.0; 4]));
    });
    assert_eq!(twice, [TensorProblem::Twice { name: "ln_f.bias".to_owned() }]);
}

#[test]
fn mismatched_tensors_are_named() {
    let missing = problems(|content| {
        content.remove("h.1.ln_2.bias");
        content.remove("wpe.weight");
    });
    let names = ["wpe.weight", "h.1.ln_2.bias"].map(str::to_owned);
    assert_eq!(missing, names.map(|name| TensorProblem::Missing { name }));
    let unknown = problems(|content| {
        content.insert("h.2.ln_1.bias".to_owned(), (vec![4], vec![0.0; 4]));
        content.insert("adapter.weight".to_owned(), (vec![2, 4], vec![0.0; 8]));
    });
    let names = ["adapter.weight", "h.2.ln_1.bias"].map(str::to_owned);
    assert_eq!(unknown, names.map(|name| TensorProblem::Unknown { name }));
    let name = || "h.0.attn.c_attn.weight".to_owned();
    let transposed = problems(|content| {
        content.insert(name(), (vec![12, 4], vec![0.0; 48]));
    });
    let (expected, shape) = (vec![4, 12], vec![12, 4]);
    assert_eq!(transposed, [TensorProblem::Shape { name: name(), expected, shape }]);
    let mut content = content();
    content.insert("ln_f.bias".to_owned(), (vec![4], vec![0.0, f32::NAN, 0.0, 0.0]));
    let problem = format_problem(load(&content, Dtype::F32), "model.safetensors");
    assert_eq!(problem, FormatProblem::NotFinite { tensor: "ln_f.bias".to_owned() });
    let double = load(&self::content(), Dtype::F64).unwrap_err();
    let Error::Tensors { problems, .. } = double else { panic!("{double}") };
    let dtype = Dtype::F64;
    assert!(problems.contains(&TensorProblem::DType { name: "wte.weight".to_owned(), dtype }));
}

#[test]
fn missing_and_truncated_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let load = || Gpt2::load(folder.path(), Device::Cpu);
    let unreadable = |file: &str| {
        let error = load().unwrap_err();
        let Error::Storage(error) = error else { panic!("{error}") };
        assert!(error.path().ends_with(file), "{error}");
    };
    unreadable("config.json");
    write(folder.path(), &content(), Dtype::F32);
    let weights = folder.path().join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    for length in [0, 7, 100, bytes.len() - 1] {
        fs::write(&weights, &bytes[..length]).unwrap();
        let problem = format_problem(load(), "model.safetensors");
        let FormatProblem::File(problem) = problem else { panic!("{problem}") };
        assert!(matches!(problem, tensor_files::FormatProblem::Safetensors { .. }), "{problem}");
    }
    fs::remove_file(&weights).unwrap();
    unreadable("model.safetensors");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damage_never_panics(position in 0usize..4096, value: u8) {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &content(), Dtype::F16);
        let weights = folder.path().join("model.safetensors");
        let mut bytes = fs::read(&weights).unwrap();
        let position = position % bytes.len();
        bytes[position] ^= value;
        fs::write(&weights, &bytes).unwrap();
        match Gpt2::load(folder.path(), Device::Cpu) {
            Ok(model) => prop_assert_eq!(logits(&model).size(), [1, 4, 11]),
            Err(error) => prop_assert!(error.to_string().contains("model.safetensors"), "{error}"),
        }
    }
}
