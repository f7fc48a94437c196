//! What is saved is what was there, in the layout that others read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{fs, path::Path};

use gpt2_model::{Gpt2, Gpt2Config, StorageType};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;
use tch::{Device, Tensor};

fn model(heads: i64, width: i64, layers: i64, seed: u64) -> Gpt2 {
    let config = format!(
        r#"{{"vocab_size": 23, "n_positions": 7, "n_embd": {}, "n_layer": {layers}, "n_head": {heads}}}"#,
        heads * width
    );
    Gpt2::random(&Gpt2Config::from_json(&config).unwrap(), seed, Device::Cpu).unwrap()
}

fn reload(model: &Gpt2, storage: StorageType) -> Gpt2 {
    let folder = tempfile::tempdir().unwrap();
    model.save(&folder.path().join("deep/er"), storage).unwrap();
    Gpt2::load(&folder.path().join("deep/er"), Device::Cpu).unwrap()
}

/// The largest difference between two models' parameters, each relative to the
/// number itself or, for small ones, to the smallest normal number of float16.
fn difference(left: &Gpt2, right: &Gpt2) -> f64 {
    let (left, right) = (left.named_parameters(), right.named_parameters());
    assert!(left.iter().map(|(name, _)| name).eq(right.iter().map(|(name, _)| name)));
    let of = |(left, right): (&(String, Tensor), &(String, Tensor))| {
        let scale = left.1.abs().clamp_min(6.1e-5);
        ((&left.1 - &right.1).abs() / scale).max().double_value(&[])
    };
    left.iter().zip(&right).map(of).fold(0.0, f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn float32_comes_back_exactly_and_float16_rounded(
        heads in 1i64..4, width in 1i64..6, layers in 1i64..3, seed in 0u64..1000,
    ) {
        let model = model(heads, width, layers, seed);
        let exact = reload(&model, StorageType::Float32);
        prop_assert_eq!(difference(&model, &exact), 0.0);
        prop_assert_eq!(exact.config(), model.config());
        let rounded = reload(&model, StorageType::Float16);
        // Ten bits of fraction: half a unit of the last.
        prop_assert!(difference(&model, &rounded) <= 1.0 / 2048.0);
        let again = reload(&rounded, StorageType::Float16);
        prop_assert_eq!(difference(&rounded, &again), 0.0);
    }
}

#[test]
fn the_files_are_as_transformers_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    model(2, 3, 1, 1).save(folder.path(), StorageType::Float16).unwrap();
    let bytes = fs::read(folder.path().join("model.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    // Linear layers lie as [in, out].
    assert_eq!(tensors.tensor("h.0.attn.c_attn.weight").unwrap().shape(), [6, 18]);
    assert_eq!(tensors.tensor("h.0.mlp.c_proj.weight").unwrap().shape(), [24, 6]);
    assert!(tensors.tensor("lm_head.weight").is_err(), "the head is tied");
    let config = fs::read_to_string(folder.path().join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    for (name, value) in [
        ("model_type", Value::from("gpt2")),
        ("architectures", serde_json::json!(["GPT2LMHeadModel"])),
        ("n_embd", 6.into()),
        ("eos_token_id", 22.into()),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
}

#[test]
fn what_float16_cannot_hold_is_named() {
    let model = model(1, 4, 1, 1);
    let parameters = model.named_parameters();
    let (_, weight) = parameters.iter().find(|(name, _)| name == "h.0.ln_2.weight").unwrap();
    let _ = tch::no_grad(|| weight.shallow_clone().fill_(70_000.0));
    let folder = tempfile::tempdir().unwrap();
    let error = model.save(folder.path(), StorageType::Float16).unwrap_err().to_string();
    assert!(error.contains("h.0.ln_2.weight") && error.contains("F16"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
    model.save(folder.path(), StorageType::Float32).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = model(1, 4, 1, 1).save(Path::new(&file), StorageType::Float32).unwrap_err();
    assert!(error.to_string().contains("cannot write") && error.to_string().contains("file"));
}
