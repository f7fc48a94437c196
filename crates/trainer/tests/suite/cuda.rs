//! CUDA against CPU.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use dataset::{Batch, Padding, TokenizedSet, TorchRng};
use gpt2_model::{DType, DeviceChoice, Gpt2, Gpt2Classifier, Gpt2Config, Pooling};
use lora::{Injector, LoraConfig};
use tch::{Device, Kind, Tensor};
use test_support::fixture;
use trainer::{
    AdamWConfig, Control, Error, Evaluator, Event, Head, Objective, Observer, ResolvedRun,
    Settings, StepConfig, Stepper, Trainable, run, task::ClassificationObjective,
};

const CUDA: Device = Device::Cuda(0);
const SHAPE: &str =
    r#"{"vocab_size": 50257, "n_positions": 64, "n_embd": 64, "n_layer": 3, "n_head": 4}"#;

/// Examples of different lengths, of three classes.
fn examples() -> TokenizedSet {
    let ids = (0..8u32).map(|row| (0..3 + 5 * row).map(|at| (7 * row + 13 * at) % 500).collect());
    TokenizedSet::from_ids(ids.collect(), (0..8).map(|row| row % 3).collect()).unwrap()
}

/// Classifier with adapters away from their initialization, or without adapters and with all
/// parameters trainable.
fn model(
    device: Device,
    dtype: DType,
    has_adapter: bool,
) -> (Gpt2Classifier, Vec<(String, Tensor)>) {
    let body = Gpt2::random(&Gpt2Config::from_json(SHAPE).unwrap(), 3, device).unwrap();
    let mut rng = TorchRng::manual_seed(3);
    let mut model = Gpt2Classifier::new(body.with_dtype(dtype).unwrap(), 3, &mut rng).unwrap();
    if !has_adapter {
        let named = model.named_parameters().into_iter();
        let trained = named.map(|(name, value)| (name, value.set_requires_grad(true)));
        return (model, trained.collect());
    }
    let injector = Injector::new(LoraConfig::default(), &mut rng).unwrap();
    let trainable = Trainable::lora(&mut model, injector, Head::Lora, 1.0).unwrap();
    let adapter = trainable.adapter().unwrap();
    let _no_grad = tch::no_grad_guard();
    for (number, layer) in adapter.layers().iter().enumerate() {
        let places = Tensor::arange(layer.b.numel() as i64, (Kind::Float, Device::Cpu));
        let values = (places * 0.7 + number as f64).sin() * 0.03;
        layer.b.shallow_clone().copy_(&values.view(layer.b.size().as_slice()));
    }
    (model, adapter.named_parameters())
}

/// Logits and loss of a batch, and every gradient by name.
fn first_step(
    device: Device,
    dtype: DType,
    has_adapter: bool,
    padding: Padding,
) -> BTreeMap<String, Tensor> {
    let (model, parameters) = model(device, dtype, has_adapter);
    let evaluator = Evaluator::new(&model, Pooling::LastToken);
    let batch = Batch::of(&examples(), &[0, 7, 2, 3, 3, 5], padding).unwrap();
    let logits = tch::no_grad(|| evaluator.logits(&batch)).unwrap();
    let loss = ClassificationObjective::new(evaluator).backward(&batch, 1.0).unwrap();
    let mut all: BTreeMap<_, _> =
        parameters.into_iter().map(|(name, value)| (name, value.grad())).collect();
    all.extend([("logits".to_owned(), logits), ("loss".to_owned(), loss)]);
    all.into_iter().map(|(name, value)| (name, value.to_device(Device::Cpu))).collect()
}

#[test]
#[ignore = "needs a CUDA device"]
fn logits_and_first_gradients_equal_the_cpu() {
    for padding in [Padding::Packed, Padding::Longest] {
        // Eight bits of precision are a four-hundredth, and errors add up over the layers.
        for (dtype, has_adapter, tolerance) in [
            (DType::Float32, true, 1e-4),
            (DType::Float32, false, 1e-4),
            (DType::Bfloat16, true, 3e-2),
        ] {
            let cpu = first_step(Device::Cpu, dtype, has_adapter, padding);
            let cuda = first_step(CUDA, dtype, has_adapter, padding);
            assert!(cpu.keys().eq(cuda.keys()));
            let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
            let gradients = cpu.iter().filter(|(name, _)| *name != "logits" && *name != "loss");
            let gradient_size = gradients.map(|(_, value)| largest(value)).fold(0.0, f64::max);
            let mut worst = ("", 0.0);
            for (name, value) in &cpu {
                let size = match name.as_str() {
                    "logits" | "loss" => largest(value),
                    _ => gradient_size,
                };
                let difference = largest(&(value - &cuda[name])) / size;
                if difference > worst.1 {
                    worst = (name, difference);
                }
                assert!(difference < tolerance, "{name}: {difference} ({padding:?}, {dtype})");
            }
            println!("{padding:?} {dtype} adapter {has_adapter}: {} in {}", worst.1, worst.0);
        }
    }
}

#[test]
#[ignore = "needs a CUDA device"]
fn float16_overflow_skips_the_step_and_lowers_the_loss_scale() {
    let (model, parameters) = model(CUDA, DType::Float16, true);
    {
        let _no_grad = tch::no_grad_guard();
        let is_head = |(name, _): &(String, Tensor)| name == Gpt2Classifier::HEAD_TENSORS[0];
        let (_, mut head) = model.named_parameters().into_iter().find(is_head).unwrap();
        let _ = head.g_mul_scalar_(3000.0);
    }
    let values = || -> Vec<Tensor> {
        parameters.iter().map(|(_, value)| value.detach().to_device(Device::Cpu)).collect()
    };
    let config = StepConfig { dtype: DType::Float16, ..StepConfig::default() };
    let groups: Vec<_> =
        parameters.iter().map(|(_, value)| (value.shallow_clone(), Default::default())).collect();
    let mut stepper = Stepper::new(groups, AdamWConfig::default(), config).unwrap();
    let evaluator = Evaluator::new(&model, Pooling::LastToken);
    let objective = ClassificationObjective::new(evaluator);
    let batch = Batch::of(&examples(), &[0, 7, 2, 3], Padding::Packed).unwrap();
    let start = values();
    let mut skipped = 0;
    while values() == start {
        let loss = stepper.step(&objective, &batch).unwrap().double_value(&[]);
        assert!(loss.is_finite(), "{loss}");
        skipped += 1;
        assert!(skipped <= 17, "no step learns with a loss scale of 1");
    }
    println!("{} steps were skipped", skipped - 1);
    assert!(skipped > 1, "no gradient overflowed");
    assert!(values().iter().all(|value| value.isfinite().all().int64_value(&[]) == 1));
}

/// Collects losses.
#[derive(Default)]
struct Losses(Vec<f64>);

impl Observer for Losses {
    fn event(&mut self, event: &Event) {
        if let Event::Step { loss, .. } = event {
            self.0.push(*loss);
        }
    }
}

fn settings(out: &Path, dtype: DType) -> ResolvedRun {
    let mut settings = Settings {
        model: fixture("tiny").display().to_string(),
        out: Some(out.to_owned()),
        ..Settings::default()
    };
    settings.data.data = vec![fixture("messages.tsv")];
    settings.training.epochs = 1.0;
    settings.machine.device = DeviceChoice::Cuda(0);
    settings.machine.dtype = dtype;
    ResolvedRun::new(settings).unwrap()
}

#[test]
#[ignore = "needs a CUDA device"]
fn run_resumes_from_its_checkpoint() {
    for dtype in DType::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mut whole = Losses::default();
        run(&settings(&folder.path().join("whole"), dtype), &Control::default(), &mut whole)
            .unwrap();
        let interrupted = settings(&folder.path().join("interrupted"), dtype);
        let mut losses = Losses::default();
        let stop = Arc::new(AtomicBool::new(true));
        let stop = Control { stop, ..Control::default() };
        let stopped = run(&interrupted, &stop, &mut losses);
        assert!(matches!(stopped, Err(Error::Interrupted { step: 1, .. })), "{stopped:?}");
        let resume = Control { resume: true, ..Control::default() };
        run(&interrupted, &resume, &mut losses).unwrap();
        assert_eq!(losses.0.len(), whole.0.len());
        let differences = losses.0.iter().zip(&whole.0).map(|(one, other)| (one - other).abs());
        let worst = differences.fold(0.0, f64::max);
        println!("{dtype}: {worst}");
        assert!(worst < 1e-3, "{dtype}: {:?} and {:?}", losses.0, whole.0);
    }
}
