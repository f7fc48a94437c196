//! Packed sequences give the logits and adapter gradients of padded ones.

use dataset::TorchRng;
use gpt2_model::{Arithmetic, DType, Gpt2, Gpt2Classifier, Gpt2Config, PackedRows, Pooling};
use lora::{Adapter, Injector, LoraConfig, Scaling, Targets};
use proptest::prelude::*;
use tch::{Device, Kind, Reduction, Tensor};
use trainer::adapt;

const VOCABULARY: i64 = 50;
const CONTEXT: i64 = 48;
const CLASSES: i64 = 3;

fn model(layers: i64, config: LoraConfig, strength: f64, seed: u64) -> (Gpt2Classifier, Adapter) {
    let shape = format!(
        r#"{{"vocab_size": {VOCABULARY}, "n_positions": {CONTEXT}, "n_embd": 24, "n_layer": {layers}, "n_head": 4}}"#
    );
    let body = Gpt2::random(&Gpt2Config::from_json(&shape).unwrap(), seed, Device::Cpu).unwrap();
    // Of padded sequences, and of `forward_packed`, libtorch computes the same.
    let body = body.with_arithmetic(Arithmetic::Kernels);
    let mut rng = TorchRng::manual_seed(seed);
    let mut model = Gpt2Classifier::new(body, CLASSES as usize, &mut rng).unwrap();
    let adapter = adapt(&mut model, Injector::new(config, &mut rng).unwrap()).unwrap();
    let _no_grad = tch::no_grad_guard();
    for (number, layer) in adapter.layers().iter().enumerate() {
        // B as training might have left it, the same in every run.
        let numbers = Tensor::arange(layer.b.numel() as i64, (Kind::Float, Device::Cpu));
        let values = (numbers * 0.7 + number as f64).sin() * strength;
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
    let difference = (one - other).abs().max().double_value(&[]);
    let size = one.abs().max().double_value(&[]).max(1.0);
    assert!(difference < 1e-5 * size, "{difference} in numbers of up to {size}");
}

/// All gradients, against the largest of them: each is a sum of many numbers, of
/// which some are as large, with its rounding.
fn assert_gradients_close(some: &[Tensor], others: &[Tensor]) {
    let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
    let size = some.iter().map(largest).fold(0.0, f64::max);
    assert!(size > 0.0);
    for (one, other) in some.iter().zip(others) {
        let difference = largest(&(one - other));
        assert!(difference < 1e-4 * size, "{difference} in gradients of up to {size}");
    }
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
            "all-linear", "q,v", "k", "c_attn", "h.0.mlp.c_fc,score", "c_proj", "score",
        ]),
        // `B` of a new adapter, and a spread that training may reach.
        strength in prop::sample::select(vec![0.0, 0.03]),
        seed in 0u64..1000,
    ) {
        let targets: Targets = targets.split(',').map(str::to_owned).collect();
        let config =
            LoraConfig { rank, alpha, scaling: Scaling::RsLora, targets, ..LoraConfig::default() };
        let (mut model, adapter) = model(layers, config, strength, seed);
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
        assert_gradients_close(&padded_gradients, &packed_gradients);

        let labels = labels(lengths.len() as i64);
        let loss = |logits: &Tensor| {
            assert_close(&padded, &logits.detach());
            let none: Option<Tensor> = None;
            logits.f_cross_entropy_loss(&labels, none, Reduction::Mean, -100, 0.0)
        };
        let gradients = || {
            let gradients = adapter.parameters().into_iter().map(|mut parameter| {
                // A parameter that the loss does not depend on may have none.
                if !parameter.grad().defined() {
                    return parameter.zeros_like();
                }
                let gradient = parameter.grad().copy();
                parameter.zero_grad();
                gradient
            });
            gradients.collect::<Vec<_>>()
        };
        let _ = model.backward_checkpointed(&rows, loss).unwrap();
        assert_gradients_close(&padded_gradients, &gradients());
        let _ = model.backward_packed(&rows, loss).unwrap();
        assert_gradients_close(&padded_gradients, &gradients());
        assert_close(&padded, &model.predict_packed(&rows).unwrap());

        model.merge().unwrap();
        assert_close(&padded, &model.forward_packed(&rows).unwrap());
        assert_close(&padded, &model.predict_packed(&rows).unwrap());
    }
}

/// With adapters as strong as none that is trained, some models answer to a
/// rounding of their input with a thousand times as much. Packed and padded then
/// differ by as much as two padded runs whose embeddings differ in the last digit.
#[test]
fn strong_adapters_differ_by_rounding_alone() {
    let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
    for seed in 0..40u64 {
        let config = LoraConfig { rank: 4, alpha: 30.0, ..LoraConfig::default() };
        let config = LoraConfig { scaling: Scaling::RsLora, ..config };
        let (model, _) = model(2, config, 0.1, seed);
        let (length, width) = (3 + seed as i64 % 30, 40);
        let id = |place: i64| (seed as i64 + 3 * place) % VOCABULARY;
        let packed: Vec<i64> = (0..length).map(id).collect();
        let mut padded = packed.clone();
        padded.resize(width, VOCABULARY - 1);
        let rows = PackedRows::new(&packed, &[length], Device::Cpu).unwrap();
        let ids = Tensor::from_slice(&padded).view([1, -1]);
        let ends = Tensor::from_slice(&[length]);
        let _no_grad = tch::no_grad_guard();
        let logits = || model.forward(&ids, &ends, Pooling::LastToken).unwrap();
        let (padded, packed) = (logits(), model.forward_packed(&rows).unwrap());
        let mut moved = 0.0f64;
        for turn in 0..4 {
            // One digit of the last place up or down.
            let mut table = model.body().token_embedding().shallow_clone();
            let kept = table.copy();
            let places = Tensor::arange(table.numel() as i64, (Kind::Float, Device::Cpu));
            let signs = (places * (1.3 + f64::from(turn))).sin().sign().view_as(&table);
            table.copy_(&(&table * (signs * 1.2e-7 + 1.0)));
            moved = moved.max(largest(&(logits() - &padded)));
            table.copy_(&kept);
        }
        let difference = largest(&(&packed - &padded));
        let allowed = 5.0 * moved + 1e-6;
        assert!(difference < allowed, "{difference} where rounding moves {moved} (seed {seed})");
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
    let (model, _) = model(1, LoraConfig::default(), 0.0, 1);
    let ids = vec![1; CONTEXT as usize + 1];
    let rows = PackedRows::new(&ids, &[CONTEXT + 1], Device::Cpu).unwrap();
    let error = model.forward_packed(&rows).unwrap_err().to_string();
    assert!(error.contains("longer than the model's context of 48"), "{error}");
}

#[test]
fn a_merged_model_of_bfloat16_keeps_the_adapter() {
    let shape = r#"{"vocab_size": 50, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}"#;
    let body = || Gpt2::random(&Gpt2Config::from_json(shape).unwrap(), 7, Device::Cpu).unwrap();
    let rows = PackedRows::new(&[1, 2, 3, 4, 5], &[3, 2], Device::Cpu).unwrap();
    let logits = |body: Gpt2, strength: f64, merged: bool| {
        let mut rng = TorchRng::manual_seed(1);
        let mut model = Gpt2Classifier::new(body, 2, &mut rng).unwrap();
        let injector = Injector::new(LoraConfig::default(), &mut rng).unwrap();
        let adapter = adapt(&mut model, injector).unwrap();
        let _no_grad = tch::no_grad_guard();
        adapter.layers().iter().for_each(|layer| {
            let _ = layer.b.shallow_clone().fill_(strength);
        });
        if merged {
            model.merge().unwrap();
        }
        model.forward_packed(&rows).unwrap()
    };
    let largest = |tensor: Tensor| tensor.abs().max().double_value(&[]);
    // So weak that bfloat16 has no weight that it would change.
    let strength = 1e-5;
    let bfloat16 = || body().with_dtype(DType::Bfloat16).unwrap();
    let rounded = || body().rounded_to(DType::Bfloat16).unwrap();
    let change = |body: &dyn Fn() -> Gpt2, merged| {
        logits(body(), strength, merged) - logits(body(), 0.0, merged)
    };
    let expected = change(&rounded, false);
    assert!(largest(expected.shallow_clone()) > 1e-6);
    let merged = change(&bfloat16, true);
    let difference = largest(&merged - &expected) / largest(expected);
    assert!(difference < 0.05, "{difference}");
    // What a later program computes that reads the adapter.
    assert_eq!(logits(bfloat16(), 0.1, true), logits(rounded(), 0.1, true));
}
