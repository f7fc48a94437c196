//! Damaged directories of Hugging Face PEFT.

use std::{collections::BTreeMap, fs};

use lora::{
    CONFIG_FILE, Error, FormatProblem, PeftSettingsProblem, WEIGHTS_FILE,
    peft::{PeftAdapter, Slicing},
};
use safetensors::Dtype;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::{
    fixtures::{PREFIX, fixtures, json_file},
    model::random,
};

/// Reads a folder of PEFT with a change to its configuration and its tensors.
fn changed(
    case: &str,
    settings: &Value,
    tensors: impl FnOnce(&mut BTreeMap<String, Tensor>),
) -> Result<(), FormatProblem> {
    let folder = tempfile::tempdir().unwrap();
    let mut config = json_file(&format!("{case}/{CONFIG_FILE}"));
    for (key, value) in settings.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(folder.path().join(CONFIG_FILE), config.to_string()).unwrap();
    let file = PeftAdapter::load(&fixtures().join(case)).unwrap();
    let mut all: BTreeMap<String, Tensor> = file
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect();
    tensors(&mut all);
    let all: Vec<_> = all.into_iter().collect();
    Tensor::write_safetensors(&all, folder.path().join(WEIGHTS_FILE)).unwrap();
    let state = PeftAdapter::load(folder.path())
        .and_then(|file| file.into_state(PREFIX, &Slicing::default()));
    match state {
        Ok(_) => Ok(()),
        Err(Error::Format { path, problem }) => {
            let is_setting = matches!(problem, FormatProblem::Settings(_));
            let file = if is_setting { CONFIG_FILE } else { WEIGHTS_FILE };
            assert_eq!(path, folder.path().join(file), "{problem}");
            Err(problem)
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn damaged_files_are_named() {
    use FormatProblem as P;

    let (root, module) = ("base_model.model", "transformer.h.0.attn.c_attn");
    let [a, b, m] = ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"]
        .map(|name| format!("{root}.{module}.{name}"));
    assert_eq!(changed("default", &json!({}), |_| ()), Ok(()));
    let half = changed("default", &json!({}), |all| {
        let half = all[&a].to_kind(Kind::BFloat16);
        all.insert(a.clone(), half);
    });
    assert_eq!(half, Ok(()));
    let none = json!({});
    let without = |case: &str, name: &str| {
        changed(case, &none, |all| drop(all.remove(name).unwrap())).unwrap_err()
    };
    let with = |case: &str, name: &str, tensor: Tensor| {
        changed(case, &none, |all| drop(all.insert(name.to_owned(), tensor))).unwrap_err()
    };
    let setting = |case: &str, settings: Value| changed(case, &settings, |_| ()).unwrap_err();
    let missing = |name: &str| P::Missing { tensor: format!("{module}.{name}") };
    let owned = || module.to_owned();
    let nan = Tensor::from_slice(&[1f32, f32::NAN]);
    let embedding = format!("{root}.wte.lora_embedding_A");
    for (problem, expected) in [
        (without("default", &b), missing("lora_B.weight")),
        (without("default", &a), missing("lora_A.weight")),
        (
            setting("default", json!({"r": 3})),
            P::ShapeOfA { module: owned(), shape: vec![4, 16], rank: 3 },
        ),
        (
            with("default", &b, random(&[48, 3])),
            P::ShapeOfB { module: owned(), shape: vec![48, 3], rank: 4 },
        ),
        (
            with("default", &a, random(&[4])),
            P::ShapeOfA { module: owned(), shape: vec![4], rank: 4 },
        ),
        (with("default", &a, nan), P::NotFinite { tensor: a.clone() }),
        (
            with("default", &a, random(&[4, 16]).to_kind(Kind::Double)),
            P::DType { tensor: a.clone(), dtype: Dtype::F64 },
        ),
        (
            with("default", &a.replace("lora_A", "lora_A.other"), random(&[4, 16])),
            P::Twice { tensor: a.clone() },
        ),
        (with("default", &embedding, random(&[1])), P::ForeignTensor { tensor: embedding.clone() }),
        (
            with("default", &format!("{root}.{module}.weight"), random(&[1])),
            P::AdapterAndWeight { module: owned() },
        ),
        (without("dora", &m), missing("lora_magnitude_vector")),
        (
            with("dora", &m, random(&[1, 48])),
            P::ShapeOfMagnitude { module: owned(), shape: vec![1, 48], out: 48 },
        ),
        (setting("dora", json!({"use_dora": false})), P::UnusedMagnitude { module: owned() }),
        (
            setting("default", json!({"bias": "all"})),
            PeftSettingsProblem::Bias { bias: "all".to_owned() }.into(),
        ),
        (changed("default", &none, BTreeMap::clear).unwrap_err(), P::NoAdapter),
    ] {
        assert_eq!(problem, expected);
    }
    // Older versions of PEFT add ".weight" to the name.
    let renamed = changed("dora", &none, |all| {
        let magnitude = all.remove(&m).unwrap();
        all.insert(format!("{m}.weight"), magnitude);
    });
    assert_eq!(renamed, Ok(()));
}

#[test]
fn tensor_names_of_every_version_are_read() {
    let rename = |change: &dyn Fn(&str) -> String| {
        changed("dora", &json!({}), |all| {
            *all = std::mem::take(all).into_iter().map(|(name, it)| (change(&name), it)).collect();
        })
    };
    let with_adapter = |adapter: &str| {
        let adapter = adapter.to_owned();
        move |name: &str| {
            let name = name.replace("lora_A.", &format!("lora_A.{adapter}."));
            let name = name.replace("lora_B.", &format!("lora_B.{adapter}."));
            let magnitude = format!("lora_magnitude_vector.{adapter}.weight");
            let name = name.replace("lora_magnitude_vector", &magnitude);
            name.replace("score.", &format!("score.modules_to_save.{adapter}."))
        }
    };
    for (what, outcome) in [
        ("default", rename(&with_adapter("default"))),
        ("another name", rename(&with_adapter("spam_2"))),
        ("module", rename(&|name| format!("module.{name}"))),
        ("_orig_mod", rename(&|name| format!("_orig_mod.{name}"))),
        ("inside", rename(&|name| name.replace("model.model.", "model.model._orig_mod."))),
        ("no prefix", rename(&|name| name.replace("base_model.model.", ""))),
        ("both", rename(&|name| format!("module._orig_mod.{}", with_adapter("a")(name)))),
    ] {
        assert_eq!(outcome, Ok(()), "{what}");
    }
    // Copies of the base model's own parameters are ignored, with a note.
    let folder = tempfile::tempdir().unwrap();
    let copies = ["score.original_module.weight", "transformer.h.0.attn.c_attn.base_layer.weight"];
    let default = PeftAdapter::load(&fixtures().join("default")).unwrap();
    let mut all: Vec<_> = default
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect();
    all.extend(copies.map(|name| (format!("base_model.model.{name}"), random(&[3]))));
    Tensor::write_safetensors(&all, folder.path().join(WEIGHTS_FILE)).unwrap();
    fs::copy(fixtures().join("default").join(CONFIG_FILE), folder.path().join(CONFIG_FILE))
        .unwrap();
    let saved = PeftAdapter::load(folder.path()).unwrap();
    assert!(saved.notes().concat().contains("2 copies of parameters"), "{:?}", saved.notes());
    let state = saved.into_state(PREFIX, &Slicing::default()).unwrap();
    assert!(state.tensors().keys().all(|name| !name.contains("original_module")));
    let several = changed("default", &json!({}), |all| {
        let more: Vec<_> = all
            .iter()
            .map(|(name, tensor)| (with_adapter("spam")(name), tensor.shallow_clone()))
            .collect();
        *all = std::mem::take(all)
            .into_iter()
            .map(|(name, tensor)| (with_adapter("ham")(&name), tensor))
            .chain(more)
            .collect();
    });
    let names = vec!["ham".to_owned(), "spam".to_owned()];
    assert_eq!(several, Err(FormatProblem::SeveralAdapters { names }));
}
