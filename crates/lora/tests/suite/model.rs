//! A small model, adapters on it, and comparisons.

use std::path::Path;

use lora::{
    Adapter, AdapterState, Error, Injector, LoraConfig, LoraLinear, Scaling,
    peft::{PeftAdapter, PeftLayer, PeftOptions, Slicing},
};
use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

pub const SLICES: &[&str] = &["q", "k", "v"];

/// Small model: `attn`, which fuses three projections, and `fc`.
pub struct Model {
    pub attn: (Tensor, Tensor),
    pub fc: (Tensor, Tensor),
}

pub struct Adapted {
    pub attn: Option<LoraLinear>,
    pub fc: Option<LoraLinear>,
    pub adapter: Adapter,
}

pub fn random(size: &[i64]) -> Tensor {
    Tensor::randn(size, (Kind::Float, Device::Cpu))
}

pub fn model() -> Model {
    Model { attn: (random(&[12, 5]), random(&[12])), fc: (random(&[7, 5]), random(&[7])) }
}

impl Model {
    pub fn adapt(&self, mut injector: Injector<'_>) -> Result<Adapted, Error> {
        let attn = injector.adapt("h.0.attn", SLICES, &self.attn.0, Some(&self.attn.1))?;
        let fc = injector.adapt("h.0.fc", &[], &self.fc.0, Some(&self.fc.1))?;
        Ok(Adapted { attn, fc, adapter: injector.finish()? })
    }

    pub fn with(&self, config: LoraConfig) -> Result<Adapted, Error> {
        self.adapt(Injector::new(config, &mut Xoshiro256PlusPlus::seed_from_u64(1))?)
    }
}

impl Adapted {
    /// Adapted layers.
    pub fn layers(&mut self) -> impl Iterator<Item = &mut LoraLinear> {
        self.attn.iter_mut().chain(&mut self.fc)
    }

    /// Outputs of both layers, concatenated: `[rows, 19]`.
    pub fn outputs(&self, model: &Model, x: &Tensor) -> Tensor {
        let plain = |(weight, bias): &(Tensor, Tensor)| x.linear(weight, Some(bias));
        let output = |layer: &Option<LoraLinear>, base: &(Tensor, Tensor)| match layer {
            Some(layer) => layer.f_forward(x).unwrap(),
            None => plain(base),
        };
        let outputs = [output(&self.attn, &model.attn), output(&self.fc, &model.fc)];
        Tensor::cat(&outputs, -1).detach()
    }
}

pub fn config(targets: &[&str]) -> LoraConfig {
    let targets = targets.iter().map(|name| (*name).to_owned()).collect();
    let scaling = Scaling::AlphaOverRank;
    LoraConfig { rank: 2, alpha: 6.0, scaling, targets, ..LoraConfig::default() }
}

/// Makes every `B` differ from zero.
pub fn fill(adapter: &Adapter) {
    let _no_grad = tch::no_grad_guard();
    for layer in adapter.layers() {
        layer.b.shallow_clone().copy_(&random(&layer.b.size()));
    }
}

/// Changes every trainable parameter.
pub fn disturb(adapter: &Adapter) {
    let _no_grad = tch::no_grad_guard();
    for mut parameter in adapter.parameters() {
        let noise = random(&parameter.size()) * 0.3;
        let _ = parameter.g_add_(&noise);
    }
}

pub fn close(left: &Tensor, right: &Tensor) -> bool {
    left.size() == right.size() && left.allclose(right, 1e-5, 1e-5, false)
}

/// Matrix or vector of a golden file.
pub fn tensor(value: &Value) -> Tensor {
    let rows = value.as_array().unwrap();
    if rows[0].is_array() {
        return Tensor::stack(&rows.iter().map(tensor).collect::<Vec<_>>(), 0);
    }
    let values: Vec<f32> = rows.iter().map(|value| value.as_f64().unwrap() as f32).collect();
    Tensor::from_slice(&values)
}

#[track_caller]
pub fn equal(ours: &Tensor, theirs: &Value, what: &str) {
    let theirs = tensor(theirs);
    assert_eq!(ours.size(), theirs.size(), "{what}");
    let difference = (ours - theirs).abs().max().double_value(&[]);
    assert!(difference < 1e-4, "{what} is off by {difference}");
}

/// Layers as `model()` has them.
pub fn two_layers() -> [PeftLayer; 2] {
    let layer = |name: &str, slices: &[&str], size| PeftLayer {
        name: format!("h.0.{name}"),
        module: format!("transformer.h.0.{name}"),
        outputs: slices.iter().map(|slice| (*slice).to_owned()).collect(),
        size,
    };
    [layer("attn", SLICES, [12, 5]), layer("fc", &[], [7, 5])]
}

/// Slices of the output of a layer of `model()`.
pub fn outputs(layer: &str) -> &'static [&'static str] {
    if layer.ends_with("attn") { SLICES } else { &[] }
}

/// Saves an adapter of `model()`.
pub fn save(state: &AdapterState, folder: &Path) {
    state.to_peft(&two_layers(), &PeftOptions::default()).unwrap().save(folder).unwrap();
}

/// Loads an adapter of `model()` that was trained with these settings.
pub fn load(folder: &Path, trained: &LoraConfig) -> Result<AdapterState, Error> {
    let slicing = Slicing { trained: Some(trained), outputs };
    PeftAdapter::load(folder)?.into_state("transformer.", &slicing)
}
