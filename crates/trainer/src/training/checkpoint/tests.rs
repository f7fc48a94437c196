//! Tests of saving, restoring and deleting checkpoints.

#![allow(clippy::unwrap_used, reason = "tests")]

use dataset::TorchRng;
use gpt2_model::DType;
use tch::Kind;

use super::*;
use crate::training::{
    adamw::{AdamWConfig, ParameterGroup},
    early_stopping::Keep,
    step::StepConfig,
};

fn identity() -> Identity {
    let inputs =
        InputDigests { data: "a".to_owned(), base: "b".to_owned(), tokenizer: None, adapter: None };
    Identity { settings: Layer::new(), inputs }
}

#[test]
fn changed_inputs_are_named() {
    let was = |tokenizer: Option<&str>| InputDigests {
        tokenizer: tokenizer.map(str::to_owned),
        ..identity().inputs
    };
    let is = was(Some("0123 eos=2 pad=0"));
    let earlier_version = "tokenizer, or by an earlier version that stored less of it";
    for (tokenizer, expected) in [
        (Some("0123 eos=2 pad=0"), None),
        (Some("0123"), Some(earlier_version)),
        (Some("0123 eos=2 pad=1"), Some("tokenizer")),
        (Some("012"), Some("tokenizer")),
        (None, Some("tokenizer")),
    ] {
        assert_eq!(was(tokenizer).changed(&is), expected, "{tokenizer:?}");
    }
    let other_data = InputDigests { data: "c".to_owned(), ..is.clone() };
    assert_eq!(other_data.changed(&is), Some("dataset"));
}

fn position(step: usize) -> Position {
    let rng = TorchRng::manual_seed(3).state();
    let (epoch_rng, seconds) = (rng.clone(), 0.5);
    Position { step, epoch: 2, done: 1, is_over: false, epoch_rng, rng, seconds }
}

/// Steps in float16, whose loss scale is part of a checkpoint.
fn stepper(parameter: &Tensor) -> Stepper {
    let groups = [(parameter.shallow_clone(), ParameterGroup::default())];
    let config = StepConfig { dtype: DType::Float16, ..StepConfig::default() };
    Stepper::new(groups, AdamWConfig::default(), config).unwrap()
}

fn parameter(value: f64) -> Tensor {
    let parameter = Tensor::from_slice(&[1f32, 2.0]) * value;
    parameter.to_kind(Kind::Float).set_requires_grad(true)
}

fn written(out: &Path) -> Written {
    storage::JsonLines::create(&out.join("metrics.jsonl")).unwrap().written().unwrap()
}

#[test]
fn loss_scale_and_best_epoch_are_restored() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let saved = [parameter(1.0)];
    let mut saved_stepper = stepper(&saved[0]);
    let mut scale = saved_stepper.loss_scale().unwrap();
    scale.update(false);
    scale.update(true);
    saved_stepper.set_loss_scale(Some(scale));
    let mut stopping = EarlyStopping::new(Keep::Best, Some(3));
    let best = Best { epoch: 1, loss: 0.25, accuracy: 0.75 };
    stopping.record(best, &[parameter(5.0)]).unwrap();
    let at = position(7);
    let state = TrainingState {
        position: &at,
        stepper: &saved_stepper,
        stopping: &stopping,
        parameters: &saved,
    };
    save(out, 2, &identity(), written(out), &state).unwrap();

    let restored = [parameter(9.0)];
    let (mut stepper, mut stopping) =
        (stepper(&restored[0]), EarlyStopping::new(Keep::Best, Some(3)));
    assert_ne!(stepper.loss_scale(), Some(scale));
    let checkpoint = Checkpoint::last(out).unwrap().unwrap();
    checkpoint.restore(&restored, &mut stepper, &mut stopping).unwrap();
    assert_eq!(checkpoint.progress().position, at);
    assert_eq!(restored[0], saved[0]);
    assert_eq!(stepper.loss_scale(), Some(scale));
    assert_eq!(stopping.best(), Some(best));
    stopping.restore_best(&restored).unwrap();
    assert_eq!(restored[0], parameter(5.0));
}

#[test]
fn only_the_last_checkpoints_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let parameters = [parameter(1.0)];
    let (stepper, stopping) = (stepper(&parameters[0]), EarlyStopping::new(Keep::Last, None));
    for (step, expected) in [(3, vec![3]), (12, vec![3, 12]), (200, vec![12, 200])] {
        let at = position(step);
        let state = TrainingState {
            position: &at,
            stepper: &stepper,
            stopping: &stopping,
            parameters: &parameters,
        };
        save(out, 2, &identity(), written(out), &state).unwrap();
        let steps: Vec<usize> = list(out).unwrap().into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, expected);
    }
}
