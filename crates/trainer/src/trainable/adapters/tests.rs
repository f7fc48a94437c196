//! Tests of adapters on a small GPT-2 against Hugging Face PEFT, with the fixtures of
//! `tests/fixtures/make_peft.py`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use dataset::TorchRng;
use gpt2_model::{DType, Gpt2, PackedRows, Pooling};
use lora::{
    AdapterState, Init, LoraConfig, Scaling,
    peft::{PeftAdapter, PeftOptions, Slicing},
};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::*;
use crate::{
    config::settings::PadTo,
    inference::{AdapterMetadata, SavedAdapter, save_adapter},
    task::kind::TaskKind,
    trainable::parameters::Head,
};

fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures"))
}

fn golden() -> Value {
    let text = fs::read_to_string(fixtures().join("peft/cases.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn matrix(value: &Value) -> Tensor {
    let rows = value.as_array().unwrap().iter();
    let rows = rows.map(|row| serde_json::from_value::<Vec<f32>>(row.clone()).unwrap());
    Tensor::stack(&rows.map(|row| Tensor::from_slice(&row)).collect::<Vec<_>>(), 0)
}

fn rows() -> Vec<Vec<i64>> {
    serde_json::from_value(golden()["ids"].clone()).unwrap()
}

fn packed() -> PackedRows {
    let lengths: Vec<i64> = rows().iter().map(|row| row.len() as i64).collect();
    PackedRows::new(&rows().concat(), &lengths, Device::Cpu).unwrap()
}

/// Logits of all rows, padded.
fn padded_logits(model: &Gpt2Classifier) -> Tensor {
    let lengths: Vec<i64> = rows().iter().map(|row| row.len() as i64).collect();
    let width = *lengths.iter().max().unwrap();
    let pad =
        |row: Vec<i64>| Tensor::from_slice(&row).constant_pad_nd([0, width - row.len() as i64]);
    let ids = Tensor::stack(&rows().into_iter().map(pad).collect::<Vec<_>>(), 0);
    model.forward(&ids, &Tensor::from_slice(&lengths), Pooling::LastToken).unwrap().detach()
}

fn logits(model: &Gpt2Classifier) -> Tensor {
    model.forward_packed(&packed()).unwrap().detach()
}

fn body() -> Gpt2 {
    Gpt2::load(fixtures().join("peft/base"), Device::Cpu).unwrap()
}

/// Model with a random head of three classes.
fn classifier() -> Gpt2Classifier {
    Gpt2Classifier::new(body(), 3, &mut TorchRng::manual_seed(3)).unwrap()
}

fn adapted(model: &mut Gpt2Classifier, config: LoraConfig) -> Adapter {
    let mut rng = TorchRng::manual_seed(5);
    adapt(model, Injector::new(config, &mut rng).unwrap()).unwrap()
}

/// Changes all adapter parameters, in place of training.
fn disturb(adapter: &Adapter) {
    let _no_grad = tch::no_grad_guard();
    for mut parameter in adapter.parameters() {
        let noise = Tensor::randn(parameter.size(), (Kind::Float, Device::Cpu)) * 0.2;
        let _ = parameter.g_add_(&noise);
    }
}

/// All features of adapters at once.
fn all_features() -> LoraConfig {
    LoraConfig {
        rank: 2,
        alpha: 3.0,
        scaling: Scaling::RsLora,
        rank_pattern: [("c_attn".to_owned(), 3)].into(),
        alpha_pattern: [("c_fc".to_owned(), 1.5), (r"c_attn\.v".to_owned(), 4.0)].into(),
        dora: true,
        init: Init::Pissa,
        ..LoraConfig::default()
    }
}

#[track_caller]
fn close(actual: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(actual.size(), expected.size(), "{what}");
    let difference = (actual - expected).abs().max().double_value(&[]);
    assert!(difference < 1e-4, "{what} is off by {difference}");
}

#[test]
fn logits_equal_peft() {
    let golden = golden();
    let cases = golden["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 10);
    for (name, case) in cases {
        let file = PeftAdapter::load(&fixtures().join("peft").join(name)).unwrap();
        let mut state = file.into_state(PEFT_PREFIX, &Slicing::default()).unwrap();
        let head = match state.take_tensor("score.weight") {
            Some(head) => head,
            None => matrix(&case["head"]),
        };
        let expected = matrix(&case["logits"]);
        for arithmetic in [Arithmetic::Fused, Arithmetic::Stepwise] {
            let head = Linear::new(head.copy(), None);
            let body = body().with_arithmetic(arithmetic);
            let mut model = Gpt2Classifier::with_head(body, Box::new(head));
            // A norm that was trained.
            for (parameter, mut place) in model.named_parameters() {
                if let Some(trained) = state.tensors().get(&format!("{PEFT_PREFIX}{parameter}")) {
                    tch::no_grad(|| place.copy_(trained));
                }
            }
            let mut state = copy_of(&state);
            for parameter in ["weight", "bias"] {
                state.take_tensor(&format!("{PEFT_PREFIX}ln_f.{parameter}"));
            }
            adapt(&mut model, Injector::from_state(state).unwrap()).unwrap();
            close(&logits(&model), &expected, name);
            close(&padded_logits(&model), &expected, name);
            model.merge().unwrap();
            close(&logits(&model), &expected, name);
        }
    }
}

/// Copies an adapter by saving and loading it.
fn copy_of(state: &AdapterState) -> AdapterState {
    let folder = tempfile::tempdir().unwrap();
    let layers = peft_layers(&mut classifier()).unwrap();
    state.to_peft(&layers, &PeftOptions::default()).unwrap().save(folder.path()).unwrap();
    let slicing = Slicing { trained: Some(state.config()), outputs: Gpt2::output_slices };
    PeftAdapter::load(folder.path()).unwrap().into_state(PEFT_PREFIX, &slicing).unwrap()
}

#[test]
fn adapters_can_be_exchanged_on_one_base() {
    let mut model = classifier();
    let before: Vec<_> = model.named_parameters();
    let plain = logits(&model);
    let mut states = Vec::new();
    for config in [all_features(), LoraConfig { rank: 3, ..LoraConfig::default() }] {
        let adapter = adapted(&mut model, config);
        disturb(&adapter);
        states.push((adapter.state().unwrap(), logits(&model)));
        unadapt(&mut model).unwrap();
        assert_eq!(logits(&model), plain);
    }
    for (state, expected) in states {
        adapt(&mut model, Injector::from_state(state).unwrap()).unwrap();
        close(&logits(&model), &expected, "the adapter");
        assert_ne!(logits(&model), plain);
        unadapt(&mut model).unwrap();
    }
    // The very tensors, and no others.
    for ((name, one), (_, other)) in before.iter().zip(model.named_parameters()) {
        assert_eq!(one.data_ptr(), other.data_ptr(), "{name}");
    }
    assert_eq!(before.len(), model.named_parameters().len());
}

#[test]
fn merging_can_be_undone() {
    for dtype in [DType::Float32, DType::Bfloat16] {
        let body = body().with_dtype(dtype).unwrap();
        let mut rng = TorchRng::manual_seed(3);
        let mut model = Gpt2Classifier::new(body, 3, &mut rng).unwrap();
        let adapter = adapted(&mut model, all_features());
        disturb(&adapter);
        let before = logits(&model);
        let names = |model: &Gpt2Classifier| {
            let all = model.named_parameters().into_iter();
            all.map(|(name, tensor)| (name, tensor.data_ptr())).collect::<Vec<_>>()
        };
        let parameters = names(&model);
        let unmerged = merge(&mut model).unwrap();
        assert!(model.named_parameters().iter().all(|(_, parameter)| !parameter.requires_grad()));
        let off = (logits(&model) - &before).abs().max().double_value(&[]);
        assert!(off < if dtype == DType::Float32 { 1e-4 } else { 0.2 }, "{dtype:?} {off}");
        unmerged.restore(&mut model).unwrap();
        assert_eq!(logits(&model), before);
        assert_eq!(names(&model), parameters);
    }
}

#[test]
fn only_adapter_parameters_have_gradients() {
    let mut model = classifier();
    let adapter = adapted(&mut model, all_features());
    disturb(&adapter);
    model.forward_packed(&packed()).unwrap().square().sum(Kind::Float).backward();
    for (name, parameter) in adapter.named_parameters() {
        let gradient = parameter.grad();
        assert!(gradient.defined(), "{name}");
        assert!(gradient.abs().max().double_value(&[]) > 0.0, "{name}");
    }
    let trained = model.named_parameters();
    let trained = trained.iter().filter(|(_, parameter)| parameter.requires_grad()).count();
    assert_eq!(trained, adapter.parameters().len());
}

#[test]
fn mismatched_adapter_leaves_the_model_unchanged() {
    let mut model = classifier();
    let plain = logits(&model);
    let state = adapted(&mut model, LoraConfig::default()).state().unwrap();
    unadapt(&mut model).unwrap();
    let mut state = copy_of(&state);
    assert!(state.take_tensor("h.1.mlp.c_fc.lora_A.weight").is_some());
    let error = adapt(&mut model, Injector::from_state(state).unwrap()).unwrap_err().to_string();
    assert!(error.contains("h.1.mlp.c_fc.lora_A.weight is missing"), "{error}");
    assert_eq!(logits(&model), plain);
}

/// Metadata of an adapter of a classifier with three classes.
fn metadata(config: &LoraConfig) -> AdapterMetadata {
    AdapterMetadata {
        task: TaskKind::Classify,
        base_model: "base".to_owned(),
        base_seed: None,
        base_digest: None,
        tokenizer: None,
        base_dtype: None,
        labels: ["a", "b", "c"].map(str::to_owned).to_vec(),
        pooling: Pooling::LastToken,
        pad_to: PadTo::None,
        max_length: 8,
        dtype: DType::Float32,
        head: Head::Lora,
        quotes: dataset::Quotes::Keep,
        lora: Some(config.plain()),
        prompts: None,
        head_bias: None,
    }
}

/// Body in the shape of the fixtures, with the vocabulary of the tokenizer.
fn full_vocabulary_body() -> Gpt2 {
    let config = gpt2_model::Gpt2Config { vocab_size: 50_257, ..body().config().clone() };
    Gpt2::random(&config, 9, Device::Cpu).unwrap()
}

/// Saving and loading preserves the logits bit for bit.
#[test]
fn saved_adapter_has_identical_logits() {
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let plain = || LoraConfig { rank: 2, alpha: 3.0, ..LoraConfig::default() };
    for (what, config) in [
        ("the book", LoraConfig { scaling: Scaling::Alpha, ..plain() }),
        ("q and v", LoraConfig { targets: named(&["q", "v"]), ..plain() }),
        ("rslora", LoraConfig { scaling: Scaling::RsLora, ..plain() }),
        ("fused", LoraConfig { targets: named(&["c_attn", "score"]), ..plain() }),
        ("dora", LoraConfig { dora: true, ..plain() }),
        ("ranks", LoraConfig { rank_pattern: [("c_fc".to_owned(), 3)].into(), ..plain() }),
    ] {
        let mut rng = TorchRng::manual_seed(3);
        let mut model = Gpt2Classifier::new(full_vocabulary_body(), 3, &mut rng).unwrap();
        let adapter = adapted(&mut model, config.clone());
        disturb(&adapter);
        let folder = tempfile::tempdir().unwrap();
        let note = save_adapter(folder.path(), &mut model, &adapter, &[], &metadata(&config));
        assert_eq!(note.unwrap(), None, "{what}");
        model.merge().unwrap();
        let expected = logits(&model);
        let read = || SavedAdapter::load(folder.path()).unwrap();
        let mut again = read().attach(full_vocabulary_body(), folder.path()).unwrap();
        again.model.merge().unwrap();
        assert_eq!(logits(&again.model), expected, "{what}");
        // Without our metadata it is an adapter as PEFT would write it.
        fs::remove_file(folder.path().join("gpt2_lora.json")).unwrap();
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        let mut foreign = read().attach(full_vocabulary_body(), folder.path()).unwrap();
        foreign.model.merge().unwrap();
        close(&logits(&foreign.model), &expected, what);
    }
}

/// With more classes than dimensions, the bias cannot be folded into the final norm and is
/// stored in the adapter file.
#[test]
fn bias_that_cannot_be_folded_is_stored_with_a_note() {
    let mut rng = TorchRng::manual_seed(3);
    let mut model = Gpt2Classifier::new(full_vocabulary_body(), 20, &mut rng).unwrap();
    let adapter = adapted(&mut model, LoraConfig::default());
    disturb(&adapter);
    let labels = (0..20).map(|class| format!("class {class}")).collect();
    let metadata = AdapterMetadata { labels, ..metadata(&LoraConfig::default()) };
    let folder = tempfile::tempdir().unwrap();
    let note = save_adapter(folder.path(), &mut model, &adapter, &[], &metadata).unwrap().unwrap();
    assert!(note.contains("--head full"), "{note}");
    model.merge().unwrap();
    let saved = SavedAdapter::load(folder.path()).unwrap();
    let mut again = saved.attach(full_vocabulary_body(), folder.path()).unwrap();
    again.model.merge().unwrap();
    assert_eq!(logits(&again.model), logits(&model));
}

/// An adapter that PEFT has trained further no longer matches its metadata.
#[test]
fn mismatched_metadata_is_ignored() {
    let mut rng = TorchRng::manual_seed(3);
    let config = LoraConfig { scaling: Scaling::Alpha, rank: 2, ..LoraConfig::default() };
    let mut model = Gpt2Classifier::new(full_vocabulary_body(), 3, &mut rng).unwrap();
    let adapter = adapted(&mut model, config.clone());
    disturb(&adapter);
    let folder = tempfile::tempdir().unwrap();
    save_adapter(folder.path(), &mut model, &adapter, &[], &metadata(&config)).unwrap();
    let path = folder.path().join(lora::WEIGHTS_FILE);
    let mut tensors: Vec<(String, Tensor)> = Tensor::read_safetensors(&path).unwrap();
    for (name, tensor) in &mut tensors {
        if name.contains("c_attn.lora_B") || name.contains("ln_f") {
            *tensor = &*tensor + 0.05;
        }
    }
    Tensor::write_safetensors(&tensors, &path).unwrap();
    let load = || SavedAdapter::load(folder.path()).unwrap();
    let with = load().attach(full_vocabulary_body(), folder.path()).unwrap();
    let names: Vec<String> =
        with.lora.as_ref().unwrap().layers().iter().map(|layer| layer.name.clone()).collect();
    assert!(names.contains(&"h.0.attn.c_attn".to_owned()), "{names:?}");
    fs::remove_file(folder.path().join("gpt2_lora.json")).unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let without = load().attach(full_vocabulary_body(), folder.path()).unwrap();
    close(&logits(&with.model), &logits(&without.model), "the changed adapter");
}

#[test]
fn peft_names_equal_those_in_transformers() {
    let layers = peft_layers(&mut classifier()).unwrap();
    assert_eq!(layers.len(), 9);
    assert_eq!(layers[0].module, "transformer.h.0.attn.c_attn");
    assert_eq!((layers[0].outputs.len(), layers[0].size), (3, [48, 16]));
    assert_eq!((layers[8].module.as_str(), layers[8].size), ("score", [3, 16]));
}

#[test]
#[ignore = "needs PEFT_PYTHON"]
fn peft_computes_the_same_logits() {
    let python = std::env::var("PEFT_PYTHON").expect("PEFT_PYTHON names a Python with peft");
    let plain = || LoraConfig { rank: 2, alpha: 3.0, ..LoraConfig::default() };
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (name, config) in [
        ("all linear", plain()),
        ("alpha as it is", LoraConfig { scaling: Scaling::Alpha, ..plain() }),
        ("q and v", LoraConfig { targets: named(&["q", "v"]), ..plain() }),
        ("rslora", LoraConfig { scaling: Scaling::RsLora, targets: named(&["c_attn"]), ..plain() }),
        ("dora", LoraConfig { dora: true, targets: named(&["q", "c_fc", "score"]), ..plain() }),
        ("everything", all_features()),
    ] {
        let mut model = classifier();
        let adapter = adapted(&mut model, config.clone());
        disturb(&adapter);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapter");
        save_adapter(&path, &mut model, &adapter, &[], &metadata(&config)).unwrap();
        let ours: Vec<Vec<f64>> = Vec::try_from(logits(&model).to_kind(Kind::Double)).unwrap();
        let text = json!({"ids": rows(), "logits": ours}).to_string();
        let file = folder.path().join("logits.json");
        fs::write(&file, text).unwrap();
        check(&python, &path, &file, name);
    }
}

fn check(python: &str, adapter: &Path, logits: &Path, name: &str) {
    let script = fixtures().join("check_peft.py");
    let base = fixtures().join("peft/base");
    let run = Command::new(python).arg(script).arg(base).arg(adapter).arg(logits).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    println!("{name}: {}", said.trim());
    assert!(run.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&run.stderr));
}
