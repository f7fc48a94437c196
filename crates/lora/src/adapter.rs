//! The trained part of an adapted model.

use tch::Tensor;

use crate::{config::LoraConfig, error::Result, freeze::ParameterCount, state::AdapterState};

/// `A` and `B` of one layer, or of one part of a layer.
#[derive(Debug)]
pub struct AdapterLayer {
    /// Name of what is adapted, `h.0.attn.c_attn.q` for example.
    pub name: String,
    /// `[rank, in]`
    pub a: Tensor,
    /// `[out, rank]`
    pub b: Tensor,
}

/// All `A` and `B` of an adapted model. The tensors are those that the model
/// computes with, not copies.
#[derive(Debug)]
pub struct Adapter {
    pub(crate) config: LoraConfig,
    pub(crate) layers: Vec<AdapterLayer>,
}

impl Adapter {
    /// What the adapter is made of.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The adapted layers, in the order of their injection.
    pub fn layers(&self) -> &[AdapterLayer] {
        &self.layers
    }

    /// Every `A` and `B`, to be given to an optimizer.
    pub fn parameters(&self) -> Vec<Tensor> {
        self.layers.iter().flat_map(|l| [l.a.shallow_clone(), l.b.shallow_clone()]).collect()
    }

    /// Every `A` and `B` by its name in an adapter file:
    /// `<layer>.lora_A.weight` `[rank, in]` and `<layer>.lora_B.weight` `[out, rank]`.
    pub fn named_parameters(&self) -> Vec<(String, Tensor)> {
        let named = |layer: &AdapterLayer| {
            [
                (a_name(&layer.name), layer.a.shallow_clone()),
                (b_name(&layer.name), layer.b.shallow_clone()),
            ]
        };
        self.layers.iter().flat_map(named).collect()
    }

    /// Numbers in all `A` and `B`.
    pub fn parameter_count(&self) -> u64 {
        ParameterCount::of(self.parameters()).total
    }

    /// A copy of the adapter as it is now, to be kept or saved.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if memory runs out.
    pub fn state(&self) -> Result<AdapterState> {
        let mut state = AdapterState::new(self.config.clone());
        for (name, tensor) in self.named_parameters() {
            state.add_tensor(&name, &tensor)?;
        }
        Ok(state)
    }
}

pub(crate) fn a_name(layer: &str) -> String {
    format!("{layer}.lora_A.weight")
}

pub(crate) fn b_name(layer: &str) -> String {
    format!("{layer}.lora_B.weight")
}
