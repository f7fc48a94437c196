//! The trained part of an adapted model.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tch::Tensor;

use crate::{
    config::LoraConfig, error::Result, freeze::ParameterCount, state::AdapterState,
    tensors::copy_of,
};

/// `A` and `B` of one layer, or of one part of a layer.
#[derive(Debug)]
pub struct AdapterLayer {
    /// Name of what is adapted, `h.0.attn.c_attn.q` for example.
    pub name: String,
    /// `[rank, in]`
    pub a: Tensor,
    /// `[out, rank]`
    pub b: Tensor,
    /// The factor on their product.
    pub scale: f64,
    /// What PiSSA took out of the weight, `A₀` and `B₀`.
    pub(crate) initial: Option<(Tensor, Tensor)>,
}

/// The magnitudes of one layer (DoRA).
#[derive(Debug)]
pub(crate) struct LayerMagnitude {
    /// Name of the whole layer.
    pub name: String,
    /// `[out]`
    pub magnitude: Tensor,
}

/// What a trained tensor is. Some recipes give each a learning rate of its own
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

/// Everything that is trained of an adapted model. The tensors are those that the
/// model computes with, not copies.
#[derive(Debug)]
pub struct Adapter {
    pub(crate) config: LoraConfig,
    pub(crate) layers: Vec<AdapterLayer>,
    pub(crate) magnitudes: Vec<LayerMagnitude>,
    /// Shared with the layers.
    pub(crate) training: Arc<AtomicBool>,
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

    /// Turns dropout on all layers on or off; it is off at first. The masks come
    /// from libtorch's own generator: seed it with [`tch::manual_seed`] to draw
    /// the same ones again.
    pub fn set_training(&self, training: bool) {
        self.training.store(training, Ordering::Relaxed);
    }

    /// Whether dropout is on.
    pub fn is_training(&self) -> bool {
        self.training.load(Ordering::Relaxed)
    }

    /// Everything that is trained, to be given to an optimizer: `A` and `B` of
    /// every layer, then the magnitudes of DoRA.
    pub fn parameters(&self) -> Vec<Tensor> {
        self.parameter_kinds().into_iter().map(|(tensor, _)| tensor).collect()
    }

    /// As [`Adapter::parameters`], in the same order, and what each is.
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

    /// As [`Adapter::parameters`], in the same order, each with its name in an
    /// adapter file: `<layer>.lora_A.weight` `[rank, in]`, `<layer>.lora_B.weight`
    /// `[out, rank]`, `<layer>.lora_magnitude_vector` `[out]`.
    pub fn named_parameters(&self) -> Vec<(String, Tensor)> {
        let matrices =
            self.layers.iter().flat_map(|layer| [a_name(&layer.name), b_name(&layer.name)]);
        let magnitudes = self.magnitudes.iter().map(|layer| magnitude_name(&layer.name));
        matrices.chain(magnitudes).zip(self.parameters()).collect()
    }

    /// Numbers in everything that is trained.
    pub fn parameter_count(&self) -> u64 {
        ParameterCount::of(self.parameters()).total
    }

    /// A copy of the adapter as it is now, to be kept or saved. It fits the
    /// weights as they were before the adapter: one that started from them
    /// ([`Init::Pissa`](crate::Init::Pissa)) is kept as `[A; A₀]` and `[B, −B₀]`,
    /// whose product is `B A − B₀ A₀`.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if memory runs out.
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

pub(crate) fn a_name(layer: &str) -> String {
    format!("{layer}.lora_A.weight")
}

pub(crate) fn b_name(layer: &str) -> String {
    format!("{layer}.lora_B.weight")
}

pub(crate) fn magnitude_name(layer: &str) -> String {
    format!("{layer}.lora_magnitude_vector")
}
