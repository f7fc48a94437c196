//! The files of a model.

use gpt2_model::{Error, Gpt2, Gpt2Classifier, Gpt2Config, PackedRows, labels_of};
use tch::Device;

use crate::{Outcome, refused, temporary_folder::TemporaryFolder};

const CONFIG: &[u8] = include_bytes!("../../fuzz/seeds/model_config/tiny.json");
const WEIGHTS: &[u8] = include_bytes!("../../fuzz/seeds/model_weights/tiny.safetensors");

/// `config.json`, beside weights that fit the first seed.
pub fn config(bytes: &[u8]) -> Outcome {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(config) = Gpt2Config::from_json(text)
    {
        let again = Gpt2Config::from_json(&serde_json::to_string(&config).unwrap());
        assert_eq!(again.unwrap(), config);
        assert_eq!(config.head_dim() * config.n_head, config.n_embd);
        assert!(config.attention_scale(config.n_layer).is_finite());
    }
    load(bytes, WEIGHTS)
}

/// `model.safetensors`, beside the configuration of the first seed.
pub fn weights(bytes: &[u8]) -> Outcome {
    load(CONFIG, bytes)
}

/// Loads a model of these files and computes with it.
fn load(config: &[u8], weights: &[u8]) -> Outcome {
    let folder = TemporaryFolder::with(&[("config.json", config), ("model.safetensors", weights)]);
    let path = folder.path().display().to_string();
    let told = |error: Error| refused(&error, &[&path]);
    let _ = labels_of(folder.path()).map_err(told);
    let body = match Gpt2::load(folder.path(), Device::Cpu) {
        Err(error) => return told(error),
        Ok(body) => body,
    };
    let head = Gpt2Classifier::head_of(folder.path(), &body).map_err(told);
    let rows = PackedRows::new(&[0, 1, 2], &[2, 1], Device::Cpu).unwrap();
    let _ = body.forward_last(&rows);
    if head.is_ok() { Outcome::Accepted } else { Outcome::Refused }
}
