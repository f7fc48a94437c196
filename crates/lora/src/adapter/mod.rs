//! Adapter of a model: its trainable parameters by name.

pub(crate) mod inject;
pub(crate) mod state;
pub(crate) mod target_selection;
pub(crate) mod tensor_names;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tch::Tensor;

use self::{
    state::AdapterState,
    tensor_names::{a_name, b_name, magnitude_name},
};
use crate::{config::LoraConfig, error::Result, parameters::ParameterCount, tensor_file::copy_of};

/// `A` and `B` of one layer, or of one slice of a layer.
#[derive(Debug)]
pub struct AdapterLayer {
    /// Name of the layer or slice, for example `h.0.attn.c_attn.q`.
    pub name: String,
    /// `[rank, in]`
    pub a: Tensor,
    /// `[out, rank]`
    pub b: Tensor,
    /// Factor on the product.
    pub scale: f64,
    /// `A₀` and `B₀` that PiSSA moved out of the weight.
    pub(crate) initial: Option<(Tensor, Tensor)>,
}

/// DoRA magnitudes of one layer.
#[derive(Debug)]
pub(crate) struct LayerMagnitude {
    /// Name of the whole layer.
    pub name: String,
    /// `[out]`
    pub magnitude: Tensor,
}

/// Role of a trainable tensor. Some recipes give each a learning rate of its own
/// (Hayou et al. 2024, *LoRA+: Efficient Low Rank Adaptation of Large Models*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// `A` `[rank, in]`
    A,
    /// `B` `[out, rank]`
    B,
    /// DoRA's magnitudes `[out]`
    Magnitude,
}

/// Trainable parameters of an adapted model. The tensors are shared with the model,
/// not copied.
#[derive(Debug)]
pub struct Adapter {
    pub(crate) config: LoraConfig,
    pub(crate) layers: Vec<AdapterLayer>,
    pub(crate) magnitudes: Vec<LayerMagnitude>,
    /// Shared with the layers.
    pub(crate) training: Arc<AtomicBool>,
}

impl Adapter {
    /// Settings of the adapter.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// Adapted layers in the order of their injection.
    pub fn layers(&self) -> &[AdapterLayer] {
        &self.layers
    }

    /// Switches dropout of all layers on or off; it is off at first. The masks come
    /// from libtorch's own generator: seed it with [`tch::manual_seed`] to draw
    /// the same ones again.
    pub fn set_training(&self, training: bool) {
        self.training.store(training, Ordering::Relaxed);
    }

    /// Returns whether dropout is on.
    pub fn is_training(&self) -> bool {
        self.training.load(Ordering::Relaxed)
    }

    /// Trainable parameters for an optimizer: `A` and `B` of every layer, then the
    /// magnitudes of DoRA.
    pub fn parameters(&self) -> Vec<Tensor> {
        self.parameter_kinds().into_iter().map(|(tensor, _)| tensor).collect()
    }

    /// [`Adapter::parameters`], in the same order, each with its role.
    pub fn parameter_kinds(&self) -> Vec<(Tensor, ParameterKind)> {
        let matrices = self.layers.iter().flat_map(|layer| {
            [
                (layer.a.shallow_clone(), ParameterKind::A),
                (layer.b.shallow_clone(), ParameterKind::B),
            ]
        });
        let magnitudes = self.magnitudes.iter();
        let magnitudes =
            magnitudes.map(|layer| (layer.magnitude.shallow_clone(), ParameterKind::Magnitude));
        matrices.chain(magnitudes).collect()
    }

    /// [`Adapter::parameters`], in the same order, each with its name in an
    /// adapter file: `<layer>.lora_A.weight` `[rank, in]`, `<layer>.lora_B.weight`
    /// `[out, rank]`, `<layer>.lora_magnitude_vector` `[out]`.
    pub fn named_parameters(&self) -> Vec<(String, Tensor)> {
        let matrices =
            self.layers.iter().flat_map(|layer| [a_name(&layer.name), b_name(&layer.name)]);
        let magnitudes = self.magnitudes.iter().map(|layer| magnitude_name(&layer.name));
        matrices.chain(magnitudes).zip(self.parameters()).collect()
    }

    /// Number of trainable parameters.
    pub fn parameter_count(&self) -> u64 {
        ParameterCount::of(self.parameters()).total
    }

    /// Returns a copy of the adapter in its current state. It fits the weights as they
    /// were before the adapter: one that started from them
    /// ([`Init::Pissa`](crate::Init::Pissa)) is stored as `[A; A₀]` and `[B, −B₀]`,
    /// whose product is `B A − B₀ A₀`.
    pub fn state(&self) -> Result<AdapterState> {
        let mut state = AdapterState::new(self.config.plain());
        for (name, tensor) in self.named_parameters() {
            state.add_tensor(&name, &tensor)?;
        }
        for AdapterLayer { name, a, b, initial, .. } in &self.layers {
            if let Some((first_a, first_b)) = initial {
                let a = Tensor::f_cat(&[copy_of(a)?, copy_of(first_a)?], 0)?;
                let b = Tensor::f_cat(&[copy_of(b)?, copy_of(first_b)?.f_neg()?], 1)?;
                state.add_tensor(&a_name(name), &a)?;
                state.add_tensor(&b_name(name), &b)?;
            }
        }
        Ok(state)
    }
}
