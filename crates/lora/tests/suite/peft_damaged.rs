//! Folders that are not what Hugging Face PEFT writes.

use std::{collections::BTreeMap, fs};

use lora::{
    AdapterState, CONFIG_FILE, WEIGHTS_FILE,
    peft::{PeftAdapter, is_peft},
};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::{
    fixtures::{PREFIX, fixtures, json_file},
    model::{config, model, random},
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
    let state = PeftAdapter::load(folder.path()).and_then(|file| file.into_state(PREFIX));
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
        (changed("default", &none, set("model.x", random(&[1]))), "model.x does not begin with"),
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
fn the_two_formats_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    assert!(is_peft(folder.path()).is_err());
    let state = model().with(config(&["fc"])).unwrap().adapter.state().unwrap();
    state.save(folder.path()).unwrap();
    assert!(!is_peft(folder.path()).unwrap());
    let error = PeftAdapter::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no peft_type"), "{error}");
    let error = AdapterState::load(&fixtures().join("default")).unwrap_err().to_string();
    assert!(error.contains("written by Hugging Face PEFT"), "{error}");

    fs::copy(fixtures().join("default").join(CONFIG_FILE), folder.path().join(CONFIG_FILE))
        .unwrap();
    fs::remove_file(folder.path().join(WEIGHTS_FILE)).unwrap();
    fs::write(folder.path().join("adapter_model.bin"), "").unwrap();
    let error = PeftAdapter::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("adapter_model.bin: a pickle file"), "{error}");
}
