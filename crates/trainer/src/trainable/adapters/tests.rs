//! Adapters on a little GPT-2, against what Hugging Face PEFT computes: the
//! fixtures are those of `tests/fixtures/make_peft.py`.

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
    peft::{PeftAdapter, PeftOptions},
};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::*;
use crate::inference::head_bias::{bias_from_norm, bias_into_norm};

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

/// The logits of all rows, padded.
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
    Gpt2::load(&fixtures().join("peft/base"), Device::Cpu).unwrap()
}

/// A model with a random head of three classes.
fn classifier() -> Gpt2Classifier {
    Gpt2Classifier::new(body(), 3, &mut TorchRng::manual_seed(3)).unwrap()
}

fn adapted(model: &mut Gpt2Classifier, config: LoraConfig) -> Adapter {
    let mut rng = TorchRng::manual_seed(5);
    adapt(model, Injector::new(config, &mut rng).unwrap()).unwrap()
}

/// Stands in for training.
fn disturb(adapter: &Adapter) {
    let _no_grad = tch::no_grad_guard();
    for mut parameter in adapter.parameters() {
        let noise = Tensor::randn(parameter.size(), (Kind::Float, Device::Cpu)) * 0.2;
        let _ = parameter.g_add_(&noise);
    }
}

/// Everything at once.
fn everything() -> LoraConfig {
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
fn close(ours: &Tensor, theirs: &Tensor, what: &str) {
    assert_eq!(ours.size(), theirs.size(), "{what}");
    let difference = (ours - theirs).abs().max().double_value(&[]);
    assert!(difference < 1e-4, "{what} is off by {difference}");
}

#[test]
fn logits_are_those_of_peft() {
    let golden = golden();
    let cases = golden["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 10);
    for (name, case) in cases {
        let file = PeftAdapter::load(&fixtures().join("peft").join(name)).unwrap();
        let mut state = file.into_state(PEFT_PREFIX).unwrap();
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

fn copy_of(state: &AdapterState) -> AdapterState {
    let folder = tempfile::tempdir().unwrap();
    state.save(folder.path()).unwrap();
    AdapterState::load(folder.path()).unwrap()
}

#[test]
fn adapters_take_turns_on_one_base() {
    let mut model = classifier();
    let before: Vec<_> = model.named_parameters();
    let plain = logits(&model);
    let mut states = Vec::new();
    for config in [everything(), LoraConfig { rank: 3, ..LoraConfig::default() }] {
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
fn a_merged_model_can_be_unmerged() {
    for dtype in [DType::Float32, DType::Bfloat16] {
        let body = body().with_dtype(dtype).unwrap();
        let mut rng = TorchRng::manual_seed(3);
        let mut model = Gpt2Classifier::new(body, 3, &mut rng).unwrap();
        let adapter = adapted(&mut model, everything());
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
fn every_parameter_of_the_adapter_gets_a_gradient_and_the_base_none() {
    let mut model = classifier();
    let adapter = adapted(&mut model, everything());
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
fn an_adapter_that_does_not_fit_leaves_the_model_as_it_was() {
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

/// Through PEFT's files and back, in a model whose head has a bias.
#[test]
fn the_bias_of_a_head_goes_through_the_final_norm() {
    for targets in ["all-linear", "c_attn"] {
        let mut model = classifier();
        let head: Vec<_> = model.named_parameters();
        let head = head.into_iter().filter(|(name, _)| name.starts_with("score."));
        let head: Vec<_> = head.map(|(name, tensor)| (name, tensor.copy())).collect();
        let targets = [targets.to_owned()].into_iter().collect();
        let adapter = adapted(&mut model, LoraConfig { targets, ..LoraConfig::default() });
        disturb(&adapter);
        let expected = logits(&model);
        let mut state = adapter.state().unwrap();
        for (name, tensor) in &head {
            state.add_tensor(name, tensor).unwrap();
        }
        bias_into_norm(&mut state, &mut model).unwrap();
        let layers = peft_layers(&mut model).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = state.to_peft(&layers, &PeftOptions::default()).unwrap();
        assert_eq!(file.modules_to_save(), ["score", "transformer.ln_f"]);
        file.save(folder.path()).unwrap();

        let file = PeftAdapter::load(folder.path()).unwrap();
        let mut state = file.into_state(PEFT_PREFIX).unwrap();
        bias_from_norm(&mut state, &body()).unwrap();
        let bias = state.take_tensor("score.bias").unwrap();
        close(&bias, &head[1].1.detach(), "the bias");
        let weight = state.take_tensor("score.weight").unwrap();
        let head = Linear::new(weight, Some(bias));
        let mut model = Gpt2Classifier::with_head(body(), Box::new(head));
        adapt(&mut model, Injector::from_state(state).unwrap()).unwrap();
        close(&logits(&model), &expected, "the logits");
    }
    // A norm that was really trained is not mistaken for a bias.
    let file = PeftAdapter::load(&fixtures().join("peft/more-trained")).unwrap();
    let mut state = file.into_state(PEFT_PREFIX).unwrap();
    let error = bias_from_norm(&mut state, &body()).unwrap_err().to_string();
    assert!(error.contains("transformer.ln_f"), "{error}");
}

#[test]
fn names_for_peft_are_those_of_transformers() {
    let layers = peft_layers(&mut classifier()).unwrap();
    assert_eq!(layers.len(), 9);
    assert_eq!(layers[0].module, "transformer.h.0.attn.c_attn");
    assert_eq!((layers[0].outputs.len(), layers[0].size), (3, [48, 16]));
    assert_eq!((layers[8].module.as_str(), layers[8].size), ("score", [3, 16]));
}

/// `cargo test -p trainer -- --ignored peft_computes`, with `PEFT_PYTHON` the
/// interpreter that has `tests/fixtures/requirements.txt` and `peft`.
#[test]
#[ignore = "needs Python with peft"]
fn peft_computes_what_was_written_for_it() {
    let python = std::env::var("PEFT_PYTHON").expect("PEFT_PYTHON names a Python with peft");
    let plain = || LoraConfig { rank: 2, alpha: 3.0, ..LoraConfig::default() };
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (name, config) in [
        ("all linear", plain()),
        ("alpha as it is", LoraConfig { scaling: Scaling::Alpha, ..plain() }),
        ("q and v", LoraConfig { targets: named(&["q", "v"]), ..plain() }),
        ("rslora", LoraConfig { scaling: Scaling::RsLora, targets: named(&["c_attn"]), ..plain() }),
        ("dora", LoraConfig { dora: true, targets: named(&["q", "c_fc", "score"]), ..plain() }),
        ("everything", everything()),
    ] {
        let mut model = classifier();
        let head = model.named_parameters();
        let head = head.into_iter().filter(|(name, _)| name.starts_with("score."));
        let head: Vec<_> = head.collect();
        let adapter = adapted(&mut model, config);
        disturb(&adapter);
        let mut state = adapter.state().unwrap();
        for (name, tensor) in &head {
            state.add_tensor(name, tensor).unwrap();
        }
        bias_into_norm(&mut state, &mut model).unwrap();
        let options = PeftOptions {
            fan_in_fan_out: true,
            task_type: Some("SEQ_CLS".to_owned()),
            base_model: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let adapter = folder.path().join("adapter");
        let layers = peft_layers(&mut model).unwrap();
        state.to_peft(&layers, &options).unwrap().save(&adapter).unwrap();
        let ours: Vec<Vec<f64>> = Vec::try_from(logits(&model).to_kind(Kind::Double)).unwrap();
        let text = json!({"ids": rows(), "logits": ours}).to_string();
        let file = folder.path().join("logits.json");
        fs::write(&file, text).unwrap();
        check(&python, &adapter, &file, name);
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
