//! Equivalent ways to compute a training step.

use dataset::{Batch, Padding, TokenizedSet, TorchRng};
use gpt2_model::{DType, Gpt2, Gpt2Classifier, Gpt2Config, Pooling};
use lora::{Injector, LoraConfig};
use tch::{Device, Kind, Tensor};
use trainer::{
    AdamWConfig, Evaluator, Head, StepConfig, Stepper, Trainable, task::ClassificationObjective,
};

const SHAPE: &str =
    r#"{"vocab_size": 50257, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}"#;

/// Rows of different lengths, three classes of which one is rare.
fn rows() -> TokenizedSet {
    let ids = (0..12u32).map(|row| (0..3 + row % 7).map(|at| (7 * row + 3 * at) % 50).collect());
    let labels = (0..12).map(|row| if row == 5 { 2 } else { row % 2 });
    TokenizedSet::from_ids(ids.collect(), labels.collect()).unwrap()
}

fn model(head: Head) -> (Gpt2Classifier, Trainable) {
    let body = Gpt2::random(&Gpt2Config::from_json(SHAPE).unwrap(), 3, Device::Cpu).unwrap();
    let mut rng = TorchRng::manual_seed(3);
    let mut model = Gpt2Classifier::new(body, 3, &mut rng).unwrap();
    if head == Head::Full {
        model = model.without_bias();
    }
    let injector = Injector::new(LoraConfig::default(), &mut rng).unwrap();
    let trained = Trainable::lora(&mut model, injector, head, 1.0).unwrap();
    (model, trained)
}

/// Computation of the gradients of a batch.
#[derive(Clone, Copy, Default)]
struct Way<'a> {
    micro_batch_size: Option<usize>,
    gradient_checkpointing: bool,
    class_weights: Option<&'a [f64]>,
}

fn objective<'a>(model: &'a Gpt2Classifier, way: Way<'_>) -> ClassificationObjective<'a> {
    let evaluator = Evaluator::new(model, Pooling::LastToken);
    let objective = ClassificationObjective::new(evaluator)
        .micro_batches_of(way.micro_batch_size.unwrap_or(usize::MAX))
        .gradient_checkpointing(way.gradient_checkpointing);
    match way.class_weights {
        None => objective,
        Some(weights) => objective.class_weights(weights, Device::Cpu).unwrap(),
    }
}

/// The losses of four steps, and the parameters after them.
fn train(
    config: StepConfig,
    way: Way<'_>,
    padding: Padding,
    head: Head,
) -> (Vec<f64>, Vec<Tensor>) {
    let (model, trained) = model(head);
    let adamw = AdamWConfig { lr: 1e-3, ..AdamWConfig::default() };
    let mut stepper = Stepper::new(trained.parameter_groups(), adamw, config).unwrap();
    let objective = objective(&model, way);
    let encoded = rows();
    let losses = (0..4).map(|turn| {
        let order: Vec<usize> = (0..12).map(|row| (5 * row + turn) % 12).collect();
        let batch = Batch::of(&encoded, &order[..10], padding).unwrap();
        stepper.step(&objective, &batch).unwrap().double_value(&[])
    });
    let losses = losses.collect();
    (losses, trained.parameters().iter().map(|parameter| parameter.detach().copy()).collect())
}

#[track_caller]
fn assert_same(one: &(Vec<f64>, Vec<Tensor>), other: &(Vec<f64>, Vec<Tensor>)) {
    for (one, other) in one.0.iter().zip(&other.0) {
        assert!((one - other).abs() < 1e-6, "{one}, {other}");
    }
    for (one, other) in one.1.iter().zip(&other.1) {
        // A step moves a number by a thousandth, whatever its gradient.
        let difference = (one - other).abs().mean(Kind::Float).double_value(&[]);
        assert!(difference < 1e-5, "{difference}");
    }
}

#[test]
fn pieces_of_a_batch_are_the_batch() {
    for padding in [Padding::Packed, Padding::Longest] {
        for class_weights in [None, Some([1.0, 2.5, 7.0].as_slice())] {
            let way = Way { class_weights, ..Way::default() };
            let config = StepConfig::default();
            let whole = train(config, way, padding, Head::Lora);
            for size in [3, 4] {
                let way = Way { micro_batch_size: Some(size), ..way };
                assert_same(&whole, &train(config, way, padding, Head::Lora));
            }
        }
    }
}

#[test]
fn a_mean_of_the_means_of_pieces_would_be_told_apart() {
    // What accumulation must not do: each piece counting the same, however many rows
    // and whatever weight it has.
    let weights = Tensor::from_slice(&[1f32, 2.5, 7.0]);
    let (model, _) = model(Head::Lora);
    let evaluator = Evaluator::new(&model, Pooling::LastToken);
    let order: Vec<usize> = (0..12).map(|row| 5 * row % 12).collect();
    let whole = Batch::of(&rows(), &order[..10], Padding::Packed).unwrap();
    let loss = |batch: &Batch| {
        let labels = Tensor::from_slice(&batch.labels);
        let logits = evaluator.logits(batch).unwrap();
        let mean = tch::Reduction::Mean;
        logits.cross_entropy_loss(&labels, Some(&weights), mean, -100, 0.0).double_value(&[])
    };
    let pieces = whole.pieces(4);
    let wrong = pieces.iter().map(loss).sum::<f64>() / pieces.len() as f64;
    let way =
        Way { micro_batch_size: Some(4), class_weights: Some(&[1.0, 2.5, 7.0]), ..Way::default() };
    let (losses, _) = train(StepConfig::default(), way, Padding::Packed, Head::Lora);
    assert!((losses[0] - loss(&whole)).abs() < 1e-6, "{losses:?}");
    assert!((losses[0] - wrong).abs() > 1e-3, "{wrong}");
}

#[test]
fn blocks_computed_twice_have_the_same_gradients() {
    let (config, way) =
        (StepConfig::default(), Way { gradient_checkpointing: true, ..Way::default() });
    for head in [Head::Lora, Head::Full] {
        let plain = train(config, Way::default(), Padding::Packed, head);
        assert_same(&plain, &train(config, way, Padding::Packed, head));
        let micro_batches = Way { micro_batch_size: Some(3), ..way };
        assert_same(&plain, &train(config, micro_batches, Padding::Packed, head));
    }
}

#[test]
fn a_whole_head_is_trained_and_an_adapted_one_is_not() {
    let head = |trained: &Trainable| {
        trained.parameters().len() - trained.adapter().unwrap().parameters().len()
    };
    let (_, lora) = model(Head::Lora);
    let (full_model, full) = model(Head::Full);
    assert_eq!((head(&lora), head(&full)), (0, 1));
    assert!(lora.adapter().unwrap().layers().iter().any(|layer| layer.name == "score"));
    assert!(full.adapter().unwrap().layers().iter().all(|layer| layer.name != "score"));
    let trains = |name: &str| {
        let all = full_model.named_parameters().into_iter();
        all.filter(|(other, _)| other == name).any(|(_, parameter)| parameter.requires_grad())
    };
    assert!(trains("score.weight") && !trains("h.0.mlp.c_fc.weight"));
    let (_, after) = train(StepConfig::default(), Way::default(), Padding::Packed, Head::Full);
    assert_ne!(after.last().unwrap(), full.parameters().last().unwrap());
}

#[test]
fn the_norm_of_the_gradients_is_limited() {
    // AdamW does not feel the size of gradients until they are near its epsilon.
    let config = StepConfig { max_grad_norm: Some(1e-9), ..StepConfig::default() };
    let start = model(Head::Lora).1.parameters();
    let moved = |after: &[Tensor]| -> f64 {
        let pairs = after.iter().zip(&start);
        pairs.map(|(one, other)| (one - other).abs().sum(Kind::Float).double_value(&[])).sum()
    };
    let free = moved(&train(StepConfig::default(), Way::default(), Padding::Packed, Head::Lora).1);
    let limited = moved(&train(config, Way::default(), Padding::Packed, Head::Lora).1);
    assert!(limited < 0.5 * free, "{limited}, {free}");
}

#[test]
fn every_second_parameter_is_a_b_and_has_its_own_rate() {
    let (mut model, _) = model(Head::Lora);
    trainer::trainable::unadapt(&mut model).unwrap();
    let mut rng = TorchRng::manual_seed(3);
    let injector = Injector::new(LoraConfig::default(), &mut rng).unwrap();
    let trained = Trainable::lora(&mut model, injector, Head::Lora, 16.0).unwrap();
    let groups = trained.parameter_groups();
    let factors: Vec<f64> = groups.iter().map(|(_, group)| group.lr_factor).collect();
    assert_eq!(factors[..4], [1.0, 16.0, 1.0, 16.0]);
    assert!(factors.iter().step_by(2).all(|factor| *factor == 1.0), "{factors:?}");
}

/// Parameters before and after a step with a NaN loss.
fn step_with_nan_loss(config: StepConfig) -> (Vec<Tensor>, Vec<Tensor>) {
    let (model, trained) = model(Head::Lora);
    let copies = || -> Vec<Tensor> {
        trained.parameters().iter().map(|parameter| parameter.detach().copy()).collect()
    };
    let adamw = AdamWConfig::default();
    let mut stepper = Stepper::new(trained.parameter_groups(), adamw, config).unwrap();
    let way = Way { class_weights: Some(&[f64::NAN; 3]), ..Way::default() };
    let objective = objective(&model, way);
    let batch = Batch::of(&rows(), &[0, 5, 7], Padding::Packed).unwrap();
    let before = copies();
    let loss = stepper.step(&objective, &batch).unwrap().double_value(&[]);
    assert!(loss.is_nan(), "{loss}");
    (before, copies())
}

#[test]
fn nan_gradients_are_not_applied_if_anomalies_are_detected() {
    let looked_for = StepConfig { detect_anomaly: true, ..StepConfig::default() };
    // Where gradients are scaled, they are always looked at.
    let scaled = StepConfig { dtype: DType::Float16, ..StepConfig::default() };
    for config in [looked_for, scaled] {
        let (before, after) = step_with_nan_loss(config);
        assert_eq!(before, after, "{config:?}");
    }
    let (before, after) = step_with_nan_loss(StepConfig::default());
    assert_ne!(before, after);
}
