//! The files of an adapter, of this project and of PEFT.

use tch::Device;
use trainer::Predictor;

use crate::{Outcome, refused, scratch::Scratch};

const BASE_CONFIG: &[u8] = include_bytes!("../../fixtures/peft/base/config.json");
const BASE_WEIGHTS: &[u8] = include_bytes!("../../fixtures/peft/base/model.safetensors");
const OUR_CONFIG: &[u8] = include_bytes!("../../fuzz/seeds/adapter_config/ours.json");
const OUR_WEIGHTS: &[u8] = include_bytes!("../../fuzz/seeds/adapter_weights/ours.safetensors");
const PEFT_CONFIG: &[u8] = include_bytes!("../../fuzz/seeds/adapter_config/peft.json");
const PEFT_WEIGHTS: &[u8] = include_bytes!("../../fuzz/seeds/adapter_weights/peft.safetensors");
const DORA_CONFIG: &[u8] = include_bytes!("../../fuzz/seeds/adapter_config/dora.json");
const DORA_WEIGHTS: &[u8] = include_bytes!("../../fuzz/seeds/adapter_weights/dora.safetensors");
const PATTERNS_WEIGHTS: &[u8] =
    include_bytes!("../../fixtures/peft/patterns/adapter_model.safetensors");
const USE_FILE: &[u8] = include_bytes!("../../fuzz/seeds/adapter_use/three_labels.json");

/// `adapter_config.json`, beside weights that fit the seeds.
pub fn config(bytes: &[u8]) -> Outcome {
    let weights = if names(bytes, "\"use_dora\": true") {
        DORA_WEIGHTS
    } else if names(bytes, "\"rank_pattern\": {\n") {
        PATTERNS_WEIGHTS
    } else if names(bytes, "peft_type") {
        PEFT_WEIGHTS
    } else {
        OUR_WEIGHTS
    };
    load(bytes, weights, None)
}

/// `adapter_model.safetensors`, beside settings that fit the seeds.
pub fn weights(bytes: &[u8]) -> Outcome {
    let config = if names(bytes, "lora_magnitude_vector") {
        DORA_CONFIG
    } else if names(bytes, "base_model") {
        PEFT_CONFIG
    } else {
        OUR_CONFIG
    };
    load(config, bytes, None)
}

/// `gpt2_lora.json`, which stands beside an adapter in PEFT's format.
pub fn use_file(bytes: &[u8]) -> Outcome {
    load(PEFT_CONFIG, PEFT_WEIGHTS, Some(bytes))
}

fn names(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

/// Puts an adapter on its base, and classifies.
fn load(config: &[u8], weights: &[u8], use_file: Option<&[u8]>) -> Outcome {
    let mut files = vec![
        ("base/config.json", BASE_CONFIG),
        ("base/model.safetensors", BASE_WEIGHTS),
        ("adapter_config.json", config),
        ("adapter_model.safetensors", weights),
    ];
    let is_peft = names(config, "peft_type");
    if is_peft {
        files.push(("gpt2_lora.json", use_file.unwrap_or(USE_FILE)));
    }
    let folder = Scratch::with(&files);
    let base = folder.path().join("base").display().to_string();
    match Predictor::load(folder.path(), Some(&base), Device::Cpu) {
        Err(error) => refused(&error, &[&folder.path().display().to_string()]),
        Ok(predictor) => {
            assert!(!predictor.labels().is_empty());
            // Most words are not in the vocabulary of the base.
            if let Ok(classified) = predictor.predict(&["!\"#"]) {
                assert!(predictor.labels().contains(&classified[0].label));
            }
            Outcome::Accepted
        }
    }
}
