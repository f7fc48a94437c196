//! Adapter files, and what is wrong with them.

use std::fs;

use lora::{CONFIG_FILE, Injector, LoraConfig, WEIGHTS_FILE, peft::PeftAdapter};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::model::{config, disturb, load, model, random, save};

#[test]
fn every_setting_and_magnitude_survives() {
    let model = model();
    let config = LoraConfig {
        rank_pattern: [("fc".to_owned(), 3)].into(),
        alpha_pattern: [(r"attn\..*".to_owned(), 1.25)].into(),
        dropout: 0.125,
        dora: true,
        ..config(&["q", "fc"])
    };
    let ours = model.with(config.clone()).unwrap();
    disturb(&ours.adapter);
    let folder = tempfile::tempdir().unwrap();
    save(&ours.adapter.state().unwrap(), folder.path());
    let state = load(folder.path(), &config).unwrap();
    let found = state.config();
    assert_eq!((found.dropout, found.dora, found.scaling), (0.125, true, config.scaling));
    assert_eq!(found.rank_pattern[r"h\.0\.fc"], 3);
    assert_eq!(state.tensors()["h.0.attn.lora_magnitude_vector"].size(), [12]);
    let again = model.adapt(Injector::from_state(state).unwrap()).unwrap();
    for (one, other) in ours.adapter.parameters().iter().zip(again.adapter.parameters()) {
        assert_eq!(one, &other);
        assert!(other.requires_grad());
    }
    let x = random(&[6, 5]);
    assert_eq!(ours.outputs(&model, &x), again.outputs(&model, &x));
}

/// Saves an adapter, changes its tensors, and says why it is not taken.
fn refused(change: impl FnOnce(&mut Vec<(String, Tensor)>)) -> String {
    let model = model();
    let folder = tempfile::tempdir().unwrap();
    let config = LoraConfig { dora: true, ..config(&["fc"]) };
    save(&model.with(config.clone()).unwrap().adapter.state().unwrap(), folder.path());
    let saved = PeftAdapter::load(folder.path()).unwrap();
    let tensors = saved.tensors().iter();
    let mut tensors: Vec<_> =
        tensors.map(|(name, tensor)| (name.clone(), tensor.contiguous())).collect();
    change(&mut tensors);
    Tensor::write_safetensors(&tensors, folder.path().join(WEIGHTS_FILE)).unwrap();
    let loaded = load(folder.path(), &config);
    let adapted = loaded.and_then(|state| model.adapt(Injector::from_state(state)?));
    adapted.map_or_else(|error| error.to_string(), |_| "taken".to_owned())
}

#[test]
fn tensors_of_half_precision_are_read() {
    for kind in [Kind::Half, Kind::BFloat16, Kind::Float] {
        let taken = refused(|tensors| {
            for (_, tensor) in tensors {
                *tensor = tensor.to_kind(kind);
            }
        });
        assert_eq!(taken, "taken", "{kind:?}");
    }
}

#[test]
fn tensors_that_cannot_be_are_named() {
    for (error, expected) in [
        (
            refused(|tensors| tensors[0].1 = Tensor::from_slice(&[1f32, f32::INFINITY])),
            "h.0.fc.lora_A.weight has a NaN or infinite value",
        ),
        (
            refused(|tensors| tensors[1].1 = tensors[1].1.to_kind(Kind::Int64)),
            "h.0.fc.lora_B.weight has dtype I64, expected F32, F16 or BF16",
        ),
        (
            refused(|tensors| tensors[2].1 = random(&[8])),
            "h.0.fc.lora_magnitude_vector has shape [8], expected [7]",
        ),
        (refused(|tensors| drop(tensors.pop())), "h.0.fc.lora_magnitude_vector is missing"),
        (
            // A message repeats nothing that a terminal would obey.
            refused(|tensors| tensors.push(("h\u{202e}".to_owned(), random(&[8])))),
            "h\\u{202e} does not belong to any layer",
        ),
    ] {
        assert!(error.contains(expected) && error.contains(WEIGHTS_FILE), "{error}");
    }
}

#[test]
fn settings_that_cannot_be_are_named() {
    let folder = tempfile::tempdir().unwrap();
    save(&model().with(config(&["fc"])).unwrap().adapter.state().unwrap(), folder.path());
    let path = folder.path().join(CONFIG_FILE);
    let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    file["lora_dropout"] = json!(1.5);
    fs::write(&path, file.to_string()).unwrap();
    let error = load(folder.path(), &config(&["fc"])).unwrap_err().to_string();
    assert!(error.contains(CONFIG_FILE) && error.contains("lora_dropout is 1.5"), "{error}");
}
