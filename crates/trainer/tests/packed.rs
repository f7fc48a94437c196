//! Without padding the model computes what it computes with it: logits, and the
//! gradients of an adapter that is no longer what it was drawn as.

#![allow(clippy::unwrap_used, reason = "tests")]

use dataset::TorchRng;
use gpt2_model::{DType, Gpt2, Gpt2Classifier, Gpt2Config, PackedRows, Pooling};
use lora::{Adapter, Injector, LoraConfig, Scaling, Targets};
use proptest::prelude::*;
use tch::{Device, Kind, Reduction, Tensor};
use trainer::adapt;

const VOCABULARY: i64 = 50;
const CONTEXT: i64 = 48;
const CLASSES: i64 = 3;

fn model(layers: i64, config: LoraConfig, seed: u64) -> (Gpt2Classifier, Adapter) {
    let shape = format!(
        r#"{{"vocab_size": {VOCABULARY}, "n_positions": {CONTEXT}, "n_embd": 24, "n_layer": {layers}, "n_head": 4}}"#
    );
    let body = Gpt2::random(&Gpt2Config::from_json(&shape).unwrap(), seed, Device::Cpu).unwrap();
    let mut rng = TorchRng::manual_seed(seed);
    let mut model = Gpt2Classifier::new(body, CLASSES as usize, &mut rng).unwrap();
    let adapter = adapt(&mut model, Injector::new(config, &mut rng).unwrap()).unwrap();
    let _no_grad = tch::no_grad_guard();
    for (number, layer) in adapter.layers().iter().enumerate() {
        // B as training might have left it, the same in every run.
        let numbers = Tensor::arange(layer.b.numel() as i64, (Kind::Float, Device::Cpu));
        let values = (numbers * 0.7 + number as f64).sin() * 0.03;
        layer.b.shallow_clone().copy_(&values.view(layer.b.size().as_slice()));
    }
    (model, adapter)
}

fn labels(rows: i64) -> Tensor {
    Tensor::arange(rows, (Kind::Int64, Device::Cpu)).remainder(CLASSES)
}

/// Logits, and the gradient of every `A` and `B` for the cross-entropy with
/// classes 0, 1, 2, 0, ….
fn logits_and_gradients(logits: Tensor, adapter: &Adapter) -> (Tensor, Vec<Tensor>) {
    let labels = labels(logits.size()[0]);
    let none: Option<Tensor> = None;
    logits.cross_entropy_loss(&labels, none, Reduction::Mean, -100, 0.0).backward();
    let gradients = adapter.parameters().into_iter().map(|mut parameter| {
        let gradient = parameter.grad().copy();
        parameter.zero_grad();
        gradient
    });
    let gradients = gradients.collect();
    (logits.detach(), gradients)
}

fn assert_close(one: &Tensor, other: &Tensor) {
    assert_within(1e-5, one, other);
}

/// A gradient is a sum of many numbers larger than itself, each with its rounding.
fn assert_gradients_close(one: &Tensor, other: &Tensor) {
    assert_within(1e-4, one, other);
}

fn assert_within(tolerance: f64, one: &Tensor, other: &Tensor) {
    let difference = (one - other).abs().max().double_value(&[]);
    let size = one.abs().max().double_value(&[]).max(1.0);
    assert!(difference < tolerance * size, "{difference} in numbers of up to {size}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packed_equals_padded(
        lengths in prop::collection::vec(1i64..=CONTEXT, 1..12),
        padding in 0i64..10,
        layers in 1i64..4,
        rank in 1i64..6,
        alpha in 1f64..4.0,
        targets in prop::sample::select(vec![
            "all-linear", "q,v", "k", "c_attn", "h.0.mlp.c_fc,score", "c_proj",
        ]),
        seed in 0u64..1000,
    ) {
        let targets: Targets = targets.split(',').map(str::to_owned).collect();
        let config = LoraConfig { rank, alpha, scaling: Scaling::RsLora, targets, ..LoraConfig::default() };
        let (mut model, adapter) = model(layers, config, seed);
        let width = (lengths.iter().copied().max().unwrap() + padding).min(CONTEXT);
        let (mut packed, mut padded) = (Vec::new(), Vec::new());
        for (row, &length) in lengths.iter().enumerate() {
            let id = |place: i64| (seed as i64 + 7 * row as i64 + 3 * place) % VOCABULARY;
            packed.extend((0..length).map(id));
            padded.extend((0..length).map(id));
            padded.resize((row + 1) * width as usize, VOCABULARY - 1);
        }
        let rows = PackedRows::new(&packed, &lengths, Device::Cpu).unwrap();
        let ids = Tensor::from_slice(&padded).view([-1, width]);
        let ends = Tensor::from_slice(&lengths);

        let logits = model.forward(&ids, &ends, Pooling::LastToken).unwrap();
        let (padded, padded_gradients) = logits_and_gradients(logits, &adapter);
        let logits = model.forward_packed(&rows).unwrap();
        let (packed, packed_gradients) = logits_and_gradients(logits, &adapter);
        assert_close(&padded, &packed);
        for (padded, packed) in padded_gradients.iter().zip(&packed_gradients) {
            assert_gradients_close(padded, packed);
        }

        let labels = labels(lengths.len() as i64);
        let none: Option<Tensor> = None;
        let _ = model
            .backward_checkpointed(&rows, |logits| {
                assert_close(&padded, &logits.detach());
                logits.f_cross_entropy_loss(&labels, none, Reduction::Mean, -100, 0.0)
            })
            .unwrap();
        for (padded, checkpointed) in padded_gradients.iter().zip(adapter.parameters()) {
            let gradient = checkpointed.grad();
            // A parameter that the loss does not depend on may have none.
            if gradient.defined() {
                assert_gradients_close(padded, &gradient);
            } else {
                assert_gradients_close(padded, &padded.zeros_like());
            }
        }

        model.merge().unwrap();
        assert_close(&padded, &model.forward_packed(&rows).unwrap());
    }
}

#[test]
fn bfloat16_weights_give_about_the_same_logits() {
    let shape = r#"{"vocab_size": 50, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}"#;
    let body = || Gpt2::random(&Gpt2Config::from_json(shape).unwrap(), 7, Device::Cpu).unwrap();
    let rows = PackedRows::new(&[1, 2, 3, 4, 5], &[3, 2], Device::Cpu).unwrap();
    let exact = body().forward_last(&rows).unwrap();
    let rounded = body().with_dtype(DType::Bfloat16).unwrap().forward_last(&rows).unwrap();
    assert_eq!(rounded.kind(), Kind::Float);
    let difference = (exact - rounded).abs().max().double_value(&[]);
    assert!((1e-6..0.05).contains(&difference), "{difference}");
    assert!(body().with_dtype(DType::Float16).is_err());
}

#[test]
fn a_row_longer_than_the_context_is_refused() {
    let (model, _) = model(1, LoraConfig::default(), 1);
    let ids = vec![1; CONTEXT as usize + 1];
    let rows = PackedRows::new(&ids, &[CONTEXT + 1], Device::Cpu).unwrap();
    let error = model.forward_packed(&rows).unwrap_err().to_string();
    assert!(error.contains("longer than the model's context of 48"), "{error}");
}
