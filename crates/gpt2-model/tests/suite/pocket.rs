//! The pocket model, which ships with the project, models English.

use std::path::{Path, PathBuf};

use gpt2_model::{DType, GenerateConfig, Gpt2, generate};
use tch::{Device, Kind, Tensor};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../weights/pocket")
}

fn pocket() -> Gpt2 {
    Gpt2::load(folder(), Device::Cpu).unwrap()
}

/// GPT-2's tokens of "I would like to book a table for two people at seven in the
/// evening."
const SENTENCE: [i64; 16] =
    [40, 561, 588, 284, 1492, 257, 3084, 329, 734, 661, 379, 3598, 287, 262, 6180, 13];

/// Mean cross-entropy of each token but the first, in nats.
fn loss(model: &Gpt2, ids: &[i64]) -> f64 {
    let _no_grad = tch::no_grad_guard();
    let width = ids.len() as i64;
    let logits = model.lm_logits(&Tensor::from_slice(ids).view([1, width])).unwrap();
    let logits = logits.view([width, -1]).narrow(0, 0, width - 1);
    logits.cross_entropy_for_logits(&Tensor::from_slice(&ids[1..])).double_value(&[])
}

#[test]
fn weight_file_is_small_and_in_half_precision() {
    let bytes = std::fs::metadata(folder().join("model.safetensors")).unwrap().len();
    assert!(bytes <= 24_000_000, "{bytes} bytes");
    let model = pocket();
    assert_eq!(model.config().vocab_size, 50_257);
    assert_eq!(model.stored_dtype(), DType::Float16);
    assert!(model.named_parameters().iter().all(|(_, tensor)| tensor.kind() == Kind::Float));
}

/// Computed by `weights/pocket/digest.py` with `hashlib` and NumPy.
#[test]
fn digest_equals_an_independent_implementation() {
    assert_eq!(pocket().digest().unwrap(), "8390b61ddae0d793");
}

#[test]
fn english_is_likelier_than_its_reverse() {
    let model = pocket();
    let english = loss(&model, &SENTENCE);
    let mut reversed = SENTENCE;
    reversed.reverse();
    let random = Gpt2::random(model.config(), 1, Device::Cpu).unwrap();
    // A guess among 50,257 tokens costs 10.8 nats.
    assert!(loss(&random, &SENTENCE) > 9.0);
    assert!(english < 4.0, "{english}");
    assert!(loss(&model, &reversed) > english + 3.0);
}

#[test]
fn generated_text_is_likely_and_varied() {
    let model = pocket();
    let config =
        GenerateConfig { max_new_tokens: 24, stop_tokens: vec![50_256], ..Default::default() };
    let new = generate(&model, &SENTENCE[..4], &config, |_| {}).unwrap();
    assert!(!new.is_empty());
    // The text is likely under the model and does not repeat one token.
    let all: Vec<i64> = SENTENCE[..4].iter().chain(&new).copied().collect();
    assert!(loss(&model, &all) < 3.0);
    let distinct: std::collections::BTreeSet<i64> = new.iter().copied().collect();
    assert!(distinct.len() > new.len() / 3, "{new:?}");
}
