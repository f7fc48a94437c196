//! The files of an adapter.

use std::cell::RefCell;

use gpt2_model::{DType, Gpt2, Gpt2Config};
use tch::Device;
use trainer::AdapterSet;

use crate::{Outcome, refused, temporary_folder::TemporaryFolder};

/// Configuration with the width and layers of the seeds.
const BASE_CONFIG: &str = r#"{"vocab_size": 50257, "n_positions": 32, "n_embd": 16, "n_layer": 2,
    "n_head": 2}"#;

/// Base model of the adapters.
pub fn base_model() -> Gpt2 {
    let config = Gpt2Config::from_json(BASE_CONFIG).unwrap();
    Gpt2::random(&config, 1, Device::Cpu).unwrap()
}

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
    } else {
        PEFT_WEIGHTS
    };
    load(bytes, weights, USE_FILE)
}

/// `adapter_model.safetensors`, beside settings that fit the seeds.
pub fn weights(bytes: &[u8]) -> Outcome {
    let config = if names(bytes, "lora_magnitude_vector") { DORA_CONFIG } else { PEFT_CONFIG };
    load(config, bytes, USE_FILE)
}

/// `gpt2_lora.json`, beside an adapter that it fits.
pub fn use_file(bytes: &[u8]) -> Outcome {
    load(PEFT_CONFIG, PEFT_WEIGHTS, bytes)
}

/// `adapter_model.bin`, beside settings that fit the seeds.
pub fn pickle(bytes: &[u8]) -> Outcome {
    load_files(&[
        ("adapter_config.json", PEFT_CONFIG),
        ("adapter_model.bin", bytes),
        ("gpt2_lora.json", USE_FILE),
    ])
}

fn names(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

thread_local! {
    /// The base, which is loaded once, and its folder.
    static BASE: RefCell<(TemporaryFolder, AdapterSet)> = RefCell::new(base());
}

fn base() -> (TemporaryFolder, AdapterSet) {
    let folder = TemporaryFolder::with(&[]);
    base_model().save(folder.path(), DType::Float16).unwrap();
    let set = AdapterSet::load(folder.path().to_str().unwrap(), Device::Cpu).unwrap();
    (folder, set)
}

/// Puts an adapter on its base, and classifies.
fn load(config: &[u8], weights: &[u8], use_file: &[u8]) -> Outcome {
    load_files(&[
        ("adapter_config.json", config),
        ("adapter_model.safetensors", weights),
        ("gpt2_lora.json", use_file),
    ])
}

fn load_files(files: &[(&str, &[u8])]) -> Outcome {
    let folder = TemporaryFolder::with(files);
    BASE.with_borrow_mut(|(_, base)| match base.add("one", folder.path()) {
        Err(error) => refused(&error, &[&folder.path().display().to_string()]),
        Ok(()) => {
            let predictor = base.get("one").unwrap();
            let classified = predictor.classify(["see you", ""]);
            let labels = predictor.labels().to_vec();
            base.remove("one");
            match classified {
                Err(error) => refused(&error, &[&folder.path().display().to_string()]),
                Ok(classified) => {
                    let [Some(answer), None] = &classified[..] else { panic!("{classified:?}") };
                    assert!(labels.contains(&answer.label));
                    for answer in classified.iter().flatten() {
                        let sum: f64 = answer.probabilities.iter().sum();
                        assert!((sum - 1.0).abs() < 1e-6, "{answer:?}");
                    }
                    Outcome::Accepted
                }
            }
        }
    })
}
