//! Adapter files, intact and damaged.

use std::fs;

use lora::{
    CONFIG_FILE, Error, FormatProblem, Injector, LoraConfig, PeftSettingsProblem, TensorProblem,
    WEIGHTS_FILE, peft::PeftAdapter,
};
use safetensors::Dtype;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::model::{config, disturb, load, model, random, save};

#[test]
fn settings_and_magnitudes_round_trip() {
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

/// Saves an adapter, changes its tensors and loads it.
fn load_changed(change: impl FnOnce(&mut Vec<(String, Tensor)>)) -> Result<(), Error> {
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
    loaded.and_then(|state| model.adapt(Injector::from_state(state)?)).map(|_| ())
}

#[test]
fn half_precision_tensors_are_read() {
    for kind in [Kind::Half, Kind::BFloat16, Kind::Float] {
        let loaded = load_changed(|tensors| {
            for (_, tensor) in tensors {
                *tensor = tensor.to_kind(kind);
            }
        });
        assert!(loaded.is_ok(), "{kind:?}: {loaded:?}");
    }
}

#[test]
fn invalid_tensors_are_named() {
    const MODULE: &str = "transformer.h.0.fc";
    let tensor = |name: &str| format!("base_model.model.{MODULE}.{name}");
    for (loaded, expected) in [
        (
            load_changed(|tensors| tensors[0].1 = Tensor::from_slice(&[1f32, f32::INFINITY])),
            FormatProblem::NotFinite { tensor: tensor("lora_A.weight") },
        ),
        (
            load_changed(|tensors| tensors[1].1 = tensors[1].1.to_kind(Kind::Int64)),
            FormatProblem::DType { tensor: tensor("lora_B.weight"), dtype: Dtype::I64 },
        ),
        (
            load_changed(|tensors| tensors[2].1 = random(&[8])),
            FormatProblem::ShapeOfMagnitude { module: MODULE.to_owned(), shape: vec![8], out: 7 },
        ),
        (
            load_changed(|tensors| drop(tensors.pop())),
            FormatProblem::Missing { tensor: format!("{MODULE}.lora_magnitude_vector") },
        ),
    ] {
        let Err(Error::Format { path, problem }) = loaded else { panic!("{loaded:?}") };
        assert_eq!(problem, expected);
        assert!(path.ends_with(WEIGHTS_FILE), "{path:?}");
    }
}

#[test]
fn control_characters_in_names_are_escaped() {
    let loaded = load_changed(|tensors| tensors.push(("h\u{202e}".to_owned(), random(&[8]))));
    let error = loaded.unwrap_err();
    let unused = TensorProblem::Unused { name: "h\u{202e}".to_owned() };
    assert!(matches!(&error, Error::Mismatch { problems, .. } if *problems == [unused]));
    assert!(error.to_string().contains("h\\u{202e} does not belong to any layer"), "{error}");
}

#[test]
fn invalid_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    save(&model().with(config(&["fc"])).unwrap().adapter.state().unwrap(), folder.path());
    let file = folder.path().join(CONFIG_FILE);
    let mut settings: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    settings["lora_dropout"] = json!(1.5);
    fs::write(&file, settings.to_string()).unwrap();
    let error = load(folder.path(), &config(&["fc"])).unwrap_err();
    let Error::Format { path, problem } = error else { panic!("{error}") };
    assert_eq!((path, problem), (file, PeftSettingsProblem::Dropout(1.5).into()));
}
