//! Folders that are not what Hugging Face PEFT writes.

use std::{collections::BTreeMap, fs};

use lora::{
    CONFIG_FILE, WEIGHTS_FILE,
    peft::{PeftAdapter, Slicing},
};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::{
    fixtures::{PREFIX, fixtures, json_file},
    model::random,
};

/// A folder of PEFT with a change to its configuration and its tensors.
fn changed(
    case: &str,
    settings: &Value,
    tensors: impl FnOnce(&mut BTreeMap<String, Tensor>),
) -> String {
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
    state.map_or_else(|error| error.to_string(), |_| "taken".to_owned())
}

#[test]
fn damaged_folders_are_named() {
    let a = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight";
    let b = "base_model.model.transformer.h.0.attn.c_attn.lora_B.weight";
    let m = "base_model.model.transformer.h.0.attn.c_attn.lora_magnitude_vector";
    assert_eq!(changed("default", &json!({}), |_| ()), "taken");
    assert_eq!(
        changed("default", &json!({}), |all| {
            let half = all[a].to_kind(Kind::BFloat16);
            all.insert(a.to_owned(), half);
        }),
        "taken"
    );
    let bad = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        move |all: &mut BTreeMap<String, Tensor>| {
            for name in &names {
                drop(all.remove(name).unwrap());
            }
        }
    };
    let set = |name: &str, tensor: Tensor| {
        let name = name.to_owned();
        move |all: &mut BTreeMap<String, Tensor>| drop(all.insert(name, tensor))
    };
    let nan = Tensor::from_slice(&[1f32, f32::NAN]);
    let none = json!({});
    for (error, expected) in [
        (changed("default", &none, bad(&[b])), "h.0.attn.c_attn.lora_B.weight is missing"),
        (changed("default", &none, bad(&[a])), "h.0.attn.c_attn.lora_A.weight is missing"),
        (changed("default", &json!({"r": 3}), |_| ()), "lora_A.weight has shape [4, 16]"),
        (
            changed("default", &none, set(b, random(&[48, 3]))),
            "lora_B.weight has shape [48, 3], expected [out, 4]",
        ),
        (changed("default", &none, set(a, random(&[4]))), "lora_A.weight has shape [4]"),
        (changed("default", &none, set(a, nan)), "lora_A.weight has a NaN or infinite"),
        (
            changed("default", &none, set(a, random(&[4, 16]).to_kind(Kind::Double))),
            "lora_A.weight has dtype F64",
        ),
        (
            changed("default", &none, set(&a.replace("lora_A", "lora_A.other"), random(&[4, 16]))),
            "c_attn.lora_A.weight is stored under two names",
        ),
        (
            changed("default", &none, set("base_model.model.wte.lora_embedding_A", random(&[1]))),
            "wte.lora_embedding_A does not belong to an adapter on a linear layer",
        ),
        (
            changed(
                "default",
                &none,
                set("base_model.model.transformer.h.0.attn.c_attn.weight", random(&[1])),
            ),
            "c_attn has an adapter and a whole weight",
        ),
        (changed("dora", &none, bad(&[m])), "c_attn.lora_magnitude_vector is missing"),
        (
            changed("dora", &none, set(m, random(&[1, 48]))),
            "lora_magnitude_vector has shape [1, 48], expected [48]",
        ),
        (changed("dora", &json!({"use_dora": false}), |_| ()), "is for DoRA"),
        (changed("default", &json!({"bias": "all"}), |_| ()), "bias is \"all\""),
        (changed("default", &none, BTreeMap::clear), "holds no adapter"),
    ] {
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("adapter_") && !error.contains('\n'), "{error}");
    }
    // PEFT's older versions call it so.
    let renamed = changed("dora", &none, |all| {
        let magnitude = all.remove(m).unwrap();
        all.insert(format!("{m}.weight"), magnitude);
    });
    assert_eq!(renamed, "taken");
}

#[test]
fn every_spelling_of_the_names_is_read() {
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
        assert_eq!(outcome, "taken", "{what}");
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
    // Two adapters in one file are not one.
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
    assert!(several.contains("several adapters (ham, spam)"), "{several}");
}
