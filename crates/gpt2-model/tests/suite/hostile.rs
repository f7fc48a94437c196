//! Damaged and hostile model files give an error that names the file, or a model; never a
//! panic.

use std::{fs, path::Path};

use gpt2_model::{Gpt2, Gpt2Classifier, PackedRows, labels_of};
use tch::Device;
use test_support::fixture;

fn read(name: &str) -> Vec<u8> {
    fs::read(fixture("peft/base").join(name)).unwrap()
}

/// Loads a model of these files and computes with it.
fn try_out(config: &[u8], weights: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    fs::write(folder.path().join("model.safetensors"), weights).unwrap();
    let named = |error: gpt2_model::Error, path: &Path| {
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && !text.contains('\n'), "{text}");
    };
    let _ = labels_of(folder.path()).map_err(|error| named(error, folder.path()));
    match Gpt2::load(folder.path(), Device::Cpu) {
        Err(error) => named(error, folder.path()),
        Ok(body) => {
            let _ = Gpt2Classifier::head_of(folder.path(), &body);
            let rows = PackedRows::new(&[0, 1, 2], &[2, 1], Device::Cpu).unwrap();
            let _ = body.forward_last(&rows);
        }
    }
}

#[test]
fn hostile_settings_never_panic() {
    let config = String::from_utf8(read("config.json")).unwrap();
    let weights = read("model.safetensors");
    for (from, to) in [
        ("\"n_head\": 2", "\"n_head\": 0"),
        ("\"n_head\": 2", "\"n_head\": 3"),
        ("\"n_head\": 2", "\"n_head\": -2"),
        ("\"n_layer\": 2", "\"n_layer\": 9223372036854775807"),
        ("\"n_embd\": 16", "\"n_embd\": 4611686018427387904"),
        ("\"vocab_size\": 61", "\"vocab_size\": 1e999"),
        ("\"layer_norm_epsilon\": 1e-05", "\"layer_norm_epsilon\": NaN"),
        ("\"layer_norm_epsilon\": 1e-05", "\"layer_norm_epsilon\": 0"),
        ("{", "{\"id2label\": {\"99999999999999999999\": \"a\"},"),
    ] {
        assert!(config.contains(from), "{from}");
        try_out(config.replacen(from, to, 1).as_bytes(), &weights);
    }
}

#[test]
fn unknown_token_ids_are_errors() {
    let body = Gpt2::load(fixture("peft/base"), Device::Cpu).unwrap();
    for id in [61, -1, i64::MAX] {
        let rows = PackedRows::new(&[0, id], &[2], Device::Cpu).unwrap();
        let error = body.forward_last(&rows).unwrap_err().to_string();
        assert!(error.contains("out of range"), "{error}");
    }
}
