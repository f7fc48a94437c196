//! The folders that `tests/fixtures/make_peft.py` at the root made.

use std::{collections::BTreeMap, fs, path::PathBuf};

use lora::{AdapterState, Injector, LoraLinear, peft::PeftLayer};
use safetensors::SafeTensors;
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::model::PARTS;

pub const PREFIX: &str = "transformer.";

pub fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/peft"))
}

pub fn json_file(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixtures().join(name)).unwrap()).unwrap()
}

/// A linear layer of GPT-2: its name, and the weight `[out, in]` and bias.
pub struct Layer {
    pub name: String,
    pub weight: Tensor,
    pub bias: Tensor,
}

impl Layer {
    pub fn parts(&self) -> &'static [&'static str] {
        if self.name.ends_with("c_attn") { PARTS } else { &[] }
    }

    pub fn described(&self) -> PeftLayer {
        PeftLayer {
            name: self.name.clone(),
            module: format!("{PREFIX}{}", self.name),
            outputs: self.parts().iter().map(|part| (*part).to_owned()).collect(),
            size: self.weight.size2().unwrap().into(),
        }
    }
}

/// The linear layers of the base model, which keeps their weights as `[in, out]`.
pub fn base() -> Vec<Layer> {
    let bytes = fs::read(fixtures().join("base/model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: String| {
        let view = stored.tensor(&name).unwrap();
        let size: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        Tensor::from_data_size(view.data(), &size, Kind::Float)
    };
    let modules = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"];
    let names = (0..2).flat_map(|block| modules.map(|module| format!("h.{block}.{module}")));
    names
        .map(|name| Layer {
            weight: read(format!("{name}.weight")).tr().contiguous(),
            bias: read(format!("{name}.bias")),
            name,
        })
        .collect()
}

pub fn adapted(
    layers: &[Layer],
    state: AdapterState,
) -> (BTreeMap<String, LoraLinear>, lora::Adapter) {
    let mut injector = Injector::from_state(state).unwrap();
    let mut found = BTreeMap::new();
    for layer in layers {
        let Layer { name, weight, bias } = layer;
        if let Some(lora) = injector.adapt(name, layer.parts(), weight, Some(bias)).unwrap() {
            found.insert(name.clone(), lora);
        }
    }
    (found, injector.finish().unwrap())
}

/// Takes out what belongs to no layer.
pub fn whole_tensors(state: &mut AdapterState) -> BTreeMap<String, Tensor> {
    let names: Vec<String> = state.tensors().keys().cloned().collect();
    let names = names.into_iter().filter(|name| !name.contains(".lora_"));
    names.map(|name| (name.clone(), state.take_tensor(&name).unwrap())).collect()
}
