//! Tests of AdamW against PyTorch's, and of its own invariants.

#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;
use tch::Device;

use super::*;

/// Made by `tests/fixtures/make_linear_golden.py` with PyTorch's AdamW.
const GOLDEN: &str = include_str!("../../../../../tests/fixtures/lora_linear.json");

fn tensor(value: &Value) -> Tensor {
    let rows = value.as_array().unwrap().iter().map(|row| row.as_array().unwrap());
    let values: Vec<f32> = rows.flatten().map(|value| value.as_f64().unwrap() as f32).collect();
    Tensor::from_slice(&values).view([2, 3])
}

#[track_caller]
fn close(actual: &Tensor, expected: &Value, what: &str) {
    let difference = (actual - tensor(expected)).abs().max().double_value(&[]);
    assert!(difference < 1e-6, "{what} is off by {difference}");
}

#[test]
fn five_steps_equal_pytorch() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let golden = &golden["adamw"];
    let setting = |name: &str| golden[name].as_f64().unwrap();
    let config = AdamWConfig {
        lr: setting("lr"),
        weight_decay: setting("weight_decay"),
        ..AdamWConfig::default()
    };
    assert_eq!(golden["betas"], serde_json::json!([config.beta1, config.beta2]));
    assert_eq!(setting("eps"), config.epsilon);
    let parameter = tensor(&golden["start"]).set_requires_grad(true);
    let mut optimizer = AdamW::new(vec![parameter.shallow_clone()], config).unwrap();
    let steps = golden["steps"].as_array().unwrap();
    for step in steps {
        optimizer.zero_grad().unwrap();
        (&parameter * tensor(&step["grad"])).sum(Kind::Float).backward();
        optimizer.step().unwrap();
        close(&parameter.detach(), &step["parameter"], "the parameter");
        let (mean, mean_square) = optimizer.state().next().unwrap();
        close(mean, &step["exp_avg"], "the mean gradient");
        close(mean_square, &step["exp_avg_sq"], "the mean squared gradient");
    }
    assert_eq!(optimizer.steps() as usize, steps.len());
}

#[test]
fn unscaling_detects_overflow() {
    let (one, other) = (random(&[3]), random(&[2]));
    let both = vec![one.shallow_clone(), other.shallow_clone()];
    let mut optimizer = AdamW::new(both, AdamWConfig::default()).unwrap();
    assert!(optimizer.unscale(8.0).unwrap());
    (&one * 24.0).sum(Kind::Float).backward();
    assert!(optimizer.unscale(8.0).unwrap());
    assert_eq!(one.grad(), Tensor::from_slice(&[3f32; 3]));
    (&other * f64::INFINITY).sum(Kind::Float).backward();
    assert!(!optimizer.unscale(8.0).unwrap());
}

#[test]
fn parameter_without_gradient_is_unchanged() {
    let parameter = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let mut optimizer =
        AdamW::new(vec![parameter.shallow_clone()], AdamWConfig::default()).unwrap();
    optimizer.step().unwrap();
    assert_eq!(parameter.sum(Kind::Float).double_value(&[]), 3.0);
}

/// Random tensor.
fn random(size: &[i64]) -> Tensor {
    Tensor::randn(size, (Kind::Float, Device::Cpu)).set_requires_grad(true)
}

fn step(optimizer: &mut AdamW, parameter: &Tensor, gradient: &Tensor) {
    optimizer.zero_grad().unwrap();
    (parameter * gradient).sum(Kind::Float).backward();
    optimizer.step().unwrap();
}

#[test]
fn chunked_step_equals_whole_step() {
    tch::manual_seed(3);
    // Full chunks, a shorter last chunk, and rows longer than a chunk.
    for size in [[4 * CHUNK / 64, 64], [1001, 193], [3, CHUNK + 1]] {
        let whole = random(&size);
        // Tensors that are not contiguous are not divided into chunks.
        let transposed = whole.detach().tr().contiguous().tr().set_requires_grad(true);
        assert!(!transposed.is_contiguous());
        let of = |value: &Tensor| {
            AdamW::new(vec![value.shallow_clone()], AdamWConfig::default()).unwrap()
        };
        let (mut chunked, mut whole_step) = (of(&whole), of(&transposed));
        for _ in 0..3 {
            let gradient = Tensor::randn(size, (Kind::Float, Device::Cpu));
            step(&mut chunked, &whole, &gradient);
            step(&mut whole_step, &transposed, &gradient);
        }
        assert_eq!(whole, transposed, "{size:?}");
        for (chunked, whole) in chunked.state().zip(whole_step.state()) {
            assert_eq!(chunked, whole, "{size:?}");
        }
    }
}

#[test]
fn restored_optimizer_continues_bit_for_bit() {
    tch::manual_seed(4);
    let one = random(&[5, 7]);
    let mut first = AdamW::new(vec![one.shallow_clone()], AdamWConfig::default()).unwrap();
    let gradients: Vec<Tensor> =
        (0..6).map(|_| Tensor::randn([5, 7], (Kind::Float, Device::Cpu))).collect();
    for gradient in &gradients[..3] {
        step(&mut first, &one, gradient);
    }
    let other = one.detach().copy().set_requires_grad(true);
    let mut second = AdamW::new(vec![other.shallow_clone()], AdamWConfig::default()).unwrap();
    second.restore(first.steps(), first.state()).unwrap();
    for gradient in &gradients[3..] {
        step(&mut first, &one, gradient);
        step(&mut second, &other, gradient);
    }
    assert_eq!(one, other);
    assert_eq!((first.steps(), second.steps()), (6, 6));
    let wrong = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu));
    assert!(second.restore(1, [(&wrong, &wrong)]).is_err());
}

#[test]
fn parameter_group_turns_off_weight_decay() {
    let (decayed, kept) = (random(&[3]), random(&[3]));
    let before = [decayed.detach().copy(), kept.detach().copy()];
    let config = AdamWConfig { lr: 9.0, weight_decay: 0.5, ..AdamWConfig::default() };
    let without_decay = ParameterGroup { decays: false, ..ParameterGroup::default() };
    let all = [
        (decayed.shallow_clone(), ParameterGroup::default()),
        (kept.shallow_clone(), without_decay),
    ];
    let mut optimizer = AdamW::with(all, config).unwrap();
    optimizer.set_lr(0.1);
    // With a zero gradient, only weight decay changes the parameter.
    ((&decayed + &kept) * 0.0).sum(Kind::Float).backward();
    optimizer.step().unwrap();
    assert!(decayed.detach().allclose(&(&before[0] * 0.95), 1e-6, 0.0, false));
    assert_eq!(kept.detach(), before[1]);
}
#[test]
fn learning_rate_of_a_group_equals_a_separate_optimizer() {
    tch::manual_seed(5);
    let slow = random(&[4, 3]);
    let fast = slow.detach().copy().set_requires_grad(true);
    let alone = slow.detach().copy().set_requires_grad(true);
    let config = AdamWConfig { lr: 0.01, ..AdamWConfig::default() };
    let faster = ParameterGroup { lr_factor: 16.0, ..ParameterGroup::default() };
    let both = [(slow.shallow_clone(), ParameterGroup::default()), (fast.shallow_clone(), faster)];
    let mut grouped = AdamW::with(both, config).unwrap();
    let config = AdamWConfig { lr: 0.16, ..config };
    let mut separate = AdamW::new(vec![alone.shallow_clone()], config).unwrap();
    for _ in 0..4 {
        let gradient = Tensor::randn([4, 3], (Kind::Float, Device::Cpu));
        grouped.zero_grad().unwrap();
        ((&slow + &fast) * &gradient).sum(Kind::Float).backward();
        grouped.step().unwrap();
        step(&mut separate, &alone, &gradient);
    }
    assert_eq!(fast, alone);
    assert_ne!(slow, alone);
}

#[test]
fn gradients_are_clipped_to_the_total_norm() {
    let (one, other) = (random(&[2]), random(&[1]));
    let both = vec![one.shallow_clone(), other.shallow_clone()];
    let mut optimizer = AdamW::new(both, AdamWConfig::default()).unwrap();
    assert_eq!(optimizer.clip(1.0).unwrap(), 0.0);
    let (three, four) = (Tensor::from_slice(&[3f32, 0.0]), Tensor::from_slice(&[4f32]));
    ((&one * three).sum(Kind::Float) + (&other * four).sum(Kind::Float)).backward();
    assert_eq!(optimizer.clip(6.0).unwrap(), 5.0);
    assert_eq!(other.grad(), Tensor::from_slice(&[4f32]));
    assert_eq!(optimizer.clip(1.0).unwrap(), 5.0);
    assert!(one.grad().allclose(&Tensor::from_slice(&[0.6f32, 0.0]), 1e-6, 0.0, false));
    assert!(other.grad().allclose(&Tensor::from_slice(&[0.8f32]), 1e-6, 0.0, false));
}

/// Steps from these values, with these factors of each step's gradients. Returns parameters and
/// moments, and the norms of the gradients.
fn kernel_steps(
    arithmetic: Arithmetic,
    [first, second, last]: &[Tensor; 3],
    factors: &[[Tensor; 3]],
) -> (Vec<Tensor>, Vec<f64>) {
    // The last one is transposed in memory, like the matrices of adapters.
    let leaf = |tensor: Tensor| tensor.set_requires_grad(true);
    let parameters = [leaf(first.copy()), leaf(second.copy()), leaf(last.copy().tr())];
    let shared = parameters.iter().map(Tensor::shallow_clone).collect();
    let config = AdamWConfig { lr: 0.01, ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(shared, config).unwrap().with_arithmetic(arithmetic);
    let norms = factors.iter().map(|factors| {
        optimizer.zero_grad().unwrap();
        for (parameter, factor) in parameters.iter().zip(factors) {
            (parameter * factor).sum(Kind::Float).backward();
        }
        assert_eq!(optimizer.first_nonfinite_gradient().unwrap(), None);
        let norm = optimizer.clip(1.0).unwrap();
        optimizer.step().unwrap();
        norm
    });
    let norms = norms.collect();
    let state = optimizer.state().flat_map(|(mean, square)| [mean.copy(), square.copy()]);
    (parameters.iter().map(Tensor::detach).chain(state).collect(), norms)
}

#[test]
fn kernels_equal_libtorch_up_to_rounding() {
    // Elements in whole vectors and behind the last one. Not from libtorch's generator, from which
    // tests in other threads draw.
    let wave = |size: &[i64], phase: f64| {
        let elements = Tensor::arange(size.iter().product::<i64>(), (Kind::Double, Device::Cpu));
        (elements.square() * 0.37 + phase).sin().to_kind(Kind::Float).view(size)
    };
    let all = |sizes: [&[i64]; 3], phase: f64| sizes.map(|size| wave(size, phase));
    let initial = all([&[33, 7], &[37], &[9, 4]], 0.0);
    let factors = [1.0, 2.0, 3.0, 4.0].map(|phase| all([&[33, 7], &[37], &[4, 9]], phase));
    let (expected, expected_norms) = kernel_steps(Arithmetic::Fused, &initial, &factors);
    let (found, norms) = kernel_steps(Arithmetic::Kernels, &initial, &factors);
    for (found, expected) in found.iter().zip(&expected) {
        assert_ne!(found, expected, "the kernels were not used");
        assert!(found.allclose(expected, 1e-5, 1e-7, false));
    }
    for (found, expected) in norms.iter().zip(expected_norms) {
        assert!((found - expected).abs() < 1e-6 * expected);
    }
}

#[test]
fn kernels_find_nan_gradients_and_leave_other_tensors_to_libtorch() {
    let (one, other) = (random(&[4, 3]), random(&[2, 3, 5]));
    let other = other.detach().permute([2, 0, 1]).set_requires_grad(true);
    let before = other.detach().copy();
    let both = vec![one.shallow_clone(), other.shallow_clone()];
    let optimizer = AdamW::new(both, AdamWConfig::default()).unwrap();
    let mut optimizer = optimizer.with_arithmetic(Arithmetic::Kernels);
    (one.sum(Kind::Float) + (&other * f64::NAN).sum(Kind::Float)).backward();
    assert_eq!(optimizer.first_nonfinite_gradient().unwrap(), Some(1));
    optimizer.zero_grad().unwrap();
    other.sum(Kind::Float).backward();
    optimizer.step().unwrap();
    assert_ne!(other.detach(), before);
}
