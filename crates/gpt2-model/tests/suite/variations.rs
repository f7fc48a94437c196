//! Settings that checkpoints vary: comparison with `transformers`
//! (`tests/fixtures/make_variations.py`).

use std::{collections::BTreeMap, fs, path::Path};

use gpt2_model::{DType, Error, Gpt2, Gpt2Classifier};
use serde::Deserialize;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

#[derive(Deserialize)]
struct Golden {
    ids: Vec<i64>,
    variations: Vec<Variation>,
}

#[derive(Deserialize)]
struct Variation {
    config: Value,
    logits: Vec<Vec<f32>>,
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/variations");
    fs::read(folder.join(name)).unwrap()
}

fn golden() -> Golden {
    serde_json::from_slice(&fixture("variations.json")).unwrap()
}

fn write(folder: &Path, config: &Value, weights: &str) {
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::write(folder.join("model.safetensors"), fixture(weights)).unwrap();
}

fn load(folder: &Path) -> Gpt2 {
    Gpt2::load(folder, Device::Cpu).unwrap()
}

fn is_untied(config: &Value) -> bool {
    config["tie_word_embeddings"] == false
}

/// Largest difference of the logits from `transformers`.
fn difference(model: &Gpt2, ids: &[i64], logits: &[Vec<f32>]) -> f64 {
    let last = model.next_token_logits(&[ids.to_vec()]).unwrap().concat();
    let ids = Tensor::from_slice(ids).view([1, -1]);
    let ours = tch::no_grad(|| model.lm_logits(&ids)).unwrap().squeeze_dim(0);
    let theirs = Tensor::from_slice(&logits.concat()).view([logits.len() as i64, -1]);
    let expected = ours.select(0, ours.size()[0] - 1);
    assert!(Tensor::from_slice(&last).allclose(&expected, 1e-5, 1e-5, false));
    (ours - theirs).abs().max().double_value(&[])
}

#[test]
fn settings_of_checkpoints_equal_transformers() {
    let Golden { ids, variations } = golden();
    assert_eq!(variations.len(), 15);
    for Variation { config, logits } in &variations {
        let folder = tempfile::tempdir().unwrap();
        let weights = if is_untied(config) { "untied.safetensors" } else { "tied.safetensors" };
        write(folder.path(), config, weights);
        let model = load(folder.path());
        let by_us = difference(&model, &ids, logits);
        assert!(by_us < 1e-4, "{config}: {by_us}");
        // The files keep the settings.
        let saved = tempfile::tempdir().unwrap();
        model.save(saved.path(), DType::Float32).unwrap();
        let again = load(saved.path());
        assert!(difference(&again, &ids, logits) < 1e-4, "{config}");
        assert_eq!(again.digest().unwrap(), model.digest().unwrap());
        assert!(difference(&model.share(), &ids, logits) < 1e-4, "{config}");
    }
}

#[test]
fn unknown_activation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = golden().variations.remove(0).config;
    config["activation_function"] = json!("mish");
    write(folder.path(), &config, "tied.safetensors");
    let error = Gpt2::load(folder.path(), Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("mish") && error.contains("gelu_new"), "{error}");
}

#[test]
fn head_of_its_own_follows_the_configuration() {
    let Golden { ids, variations } = golden();
    let untied = variations.iter().find(|it| is_untied(&it.config)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &untied.config, "untied.safetensors");
    let model = load(folder.path());
    let names: BTreeMap<String, Vec<i64>> =
        model.named_parameters().into_iter().map(|(name, value)| (name, value.size())).collect();
    assert_eq!(names["lm_head.weight"], [13, 8]);
    let other = ("lm_head.weight".to_owned(), Tensor::zeros([13, 8], (Kind::Float, Device::Cpu)));
    let zero = model.share().with_parameters([other]).unwrap();
    assert_eq!(zero.output_embedding().unwrap().abs().max().double_value(&[]), 0.0);
    assert_ne!(zero.digest().unwrap(), model.digest().unwrap());
    for name in ["wte.weight", "lm_head.weight"] {
        let rows = (name.to_owned(), Tensor::zeros([14, 8], (Kind::Float, Device::Cpu)));
        let error = model.share().with_parameters([rows]).unwrap_err();
        assert!(error.to_string().contains("lm_head.weight"), "{error}");
    }

    // A classifier has no language-model head, and its files need none.
    let head = gpt2_model::Linear::new(Tensor::ones([2, 8], (Kind::Float, Device::Cpu)), None);
    let classifier = Gpt2Classifier::with_head(model, Box::new(head));
    let saved = tempfile::tempdir().unwrap();
    classifier.save(saved.path(), DType::Float32, &["a".to_owned(), "b".to_owned()]).unwrap();
    let body = load(saved.path());
    assert!(body.named_parameters().iter().all(|(name, _)| !name.starts_with("lm_head")));
    let error = body.lm_logits(&Tensor::from_slice(&ids).view([1, -1])).unwrap_err();
    assert!(matches!(error, Error::Argument(_)), "{error}");

    // The same weights with the settings of a tied head.
    let mut tied = untied.config.clone();
    tied["tie_word_embeddings"] = json!(true);
    write(folder.path(), &tied, "untied.safetensors");
    let error = Gpt2::load(folder.path(), Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("tie_word_embeddings"), "{error}");
}

/// The order of the random draws of the body does not depend on the head.
#[test]
fn random_head_is_drawn_last() {
    let config = |tied: bool| {
        let text = json!({
            "vocab_size": 9, "n_positions": 4, "n_embd": 4, "n_layer": 1, "n_head": 2,
            "tie_word_embeddings": tied,
        });
        gpt2_model::Gpt2Config::from_json(&text.to_string()).unwrap()
    };
    let [tied, untied] =
        [true, false].map(|tied| Gpt2::random(&config(tied), 3, Device::Cpu).unwrap());
    assert!(untied.token_embedding().equal(tied.token_embedding()));
    assert!(!untied.output_embedding().unwrap().equal(untied.token_embedding()));
    assert!(tied.output_embedding().unwrap().equal(tied.token_embedding()));
}
