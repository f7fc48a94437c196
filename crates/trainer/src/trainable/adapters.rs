//! LoRA adapters on GPT-2: the only module that knows both.

use std::ops::Range;

use gpt2_model::{
    Arithmetic, Gpt2, Gpt2Classifier, Linear, LinearLayer, LowRankLayer, LowRankTerm,
};
use lora::{Adapter, Injector, LoraConfig, LoraLinear, LoraTerm, peft::PeftLayer};
use tch::{TchError, Tensor};

use crate::{
    config::error::SettingsError,
    error::{Error, Result},
    trainable::network::Network,
};

/// LoRA layer in place of a linear layer of GPT-2: the base layer computes its output, and the
/// adapter adds to it.
#[derive(Debug)]
struct Adapted {
    base: Linear,
    lora: LoraLinear,
    arithmetic: Arithmetic,
}

impl LinearLayer for Adapted {
    fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        self.forward_rows(input, 0..self.weight().size2()?.0)
    }

    /// Weight of the base model, also if the layer computes with its residual
    /// ([`lora::Init::Pissa`]).
    fn weight(&self) -> &Tensor {
        self.lora.base_weight()
    }

    fn bias(&self) -> Option<&Tensor> {
        self.lora.bias()
    }

    fn forward_rows(&self, input: &Tensor, rows: Range<i64>) -> Result<Tensor, TchError> {
        let output = self.base.forward_rows(input, rows.clone())?;
        match self.arithmetic {
            Arithmetic::Fused | Arithmetic::Kernels => self.lora.f_add_product(input, output, rows),
            Arithmetic::Stepwise => self.lora.f_add_stepwise(input, output, rows),
        }
    }

    fn merged(&self) -> Result<Linear, TchError> {
        let weight = self.lora.f_merged_weight()?;
        let bias = self.bias().map(|bias| bias.f_to_kind(weight.kind())).transpose()?;
        Ok(Linear::new(weight, bias))
    }

    fn low_rank(&self) -> Option<LowRankLayer<'_>> {
        let term = |LoraTerm { a, b, start, scale }| LowRankTerm { a, b, start, scale };
        let terms = self.lora.terms()?.into_iter().map(term).collect();
        Some(LowRankLayer { base: &self.base, terms, dropout: self.lora.active_dropout() })
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        let base = [("weight", Some(self.weight())), ("bias", self.bias())];
        let base = base.into_iter().filter_map(|(name, tensor)| Some((name, tensor?)));
        let adapters = self.lora.parameters().map(|tensor| ("lora", tensor));
        let named = |(name, tensor): (&str, &Tensor)| (name.to_owned(), tensor.shallow_clone());
        base.chain(adapters).map(named).collect()
    }

    fn describe(&self) -> String {
        let (rank, scale) = (self.lora.rank(), self.lora.scale());
        let size = self.weight().size();
        format!(
            "LoraLinear(in_features={}, out_features={}, bias={}, rank={rank}, scale={scale})",
            size[1],
            size[0],
            self.bias().is_some()
        )
    }
}

/// Checks target modules against the layers of `body` and, if given, the layer `head`.
///
/// # Errors
/// [`Error::Lora`] if a target matches no layer; [`SettingsError::OnlyHead`].
pub(crate) fn check_target_modules(
    config: &LoraConfig,
    body: &mut Gpt2,
    head: Option<&str>,
) -> Result<()> {
    let mut layers = Vec::new();
    body.visit_linears(&mut |slot| {
        layers.push((slot.name.to_owned(), slot.outputs));
        Ok::<(), Error>(())
    })?;
    let mut is_on_body = false;
    for (name, outputs) in &layers {
        let slices = outputs.iter().map(|slice| format!("{name}.{slice}"));
        for target in slices.chain([name.clone()]) {
            is_on_body |= config.of_layer(&target)?.is_some();
        }
    }
    if let Some(name) = head {
        layers.push((name.to_owned(), &[]));
        if !is_on_body && config.of_layer(name)?.is_some() {
            return Err(SettingsError::OnlyHead { head: name.to_owned() }.into());
        }
    }
    let layers = layers.iter().map(|(name, outputs)| (name.as_str(), *outputs));
    Ok(config.check_layers(layers)?)
}

/// Freezes all parameters of the model, including the head, and injects adapters.
///
/// # Errors
/// [`Error::Lora`] if a target matches no layer, or if a saved adapter does not fit; the model
/// has no adapters then.
pub fn adapt(model: &mut dyn Network, injector: Injector<'_>) -> Result<Adapter> {
    adapt_where(model, injector, &|_| true)
}

/// As [`adapt`], on the layers whose names are `wanted`.
pub(crate) fn adapt_where(
    model: &mut dyn Network,
    injector: Injector<'_>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Adapter> {
    let adapted = put_on(model, injector, wanted);
    if adapted.is_err() {
        unadapt(model)?;
    }
    adapted
}

fn put_on(
    model: &mut dyn Network,
    mut injector: Injector<'_>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Adapter> {
    lora::freeze(model.named_parameters().into_iter().map(|(_, parameter)| parameter))?;
    model.visit_linears(&mut |slot| {
        if !wanted(slot.name) {
            return Ok(());
        }
        let (weight, bias) = (slot.layer.weight(), slot.layer.bias());
        if let Some(lora) = injector.adapt(slot.name, slot.outputs, weight, bias)? {
            let bias = lora.bias().map(Tensor::shallow_clone);
            let base =
                Linear::new(lora.weight().shallow_clone(), bias).with_arithmetic(slot.arithmetic);
            *slot.layer = Box::new(Adapted { base, lora, arithmetic: slot.arithmetic });
        }
        Ok(())
    })?;
    Ok(injector.finish()?)
}

/// Removes the adapters: every linear layer is again the layer of the base model, which was
/// shared and not copied.
///
/// A layer that was merged in place ([`Gpt2Classifier::merge`]) remains merged; to remove
/// adapters from a merged model, use [`merge`] and [`Unmerged::restore`].
///
/// # Errors
/// None at present.
pub fn unadapt(model: &mut dyn Network) -> Result<()> {
    model.visit_linears(&mut |slot| {
        let plain = Linear::share(slot.layer.as_ref()).with_arithmetic(slot.arithmetic);
        *slot.layer = Box::new(plain);
        Ok(())
    })
}

/// Layers of a model before it was merged.
#[derive(Debug)]
#[must_use = "without it a merged model cannot be unmerged"]
pub struct Unmerged {
    layers: Vec<Box<dyn LinearLayer>>,
}

/// Merges the model ([`Gpt2Classifier::merge`]) and keeps its layers for
/// [`Unmerged::restore`].
///
/// # Errors
/// Any libtorch error, for example if memory runs out; the model is unchanged then.
pub fn merge(model: &mut dyn Network) -> Result<Unmerged> {
    let mut merged: Vec<Box<dyn LinearLayer>> = Vec::new();
    model.visit_linears(&mut |slot| {
        merged.push(Box::new(slot.layer.merged()?.with_arithmetic(slot.arithmetic)));
        Ok(())
    })?;
    exchange(model, merged).map(|layers| Unmerged { layers })
}

impl Unmerged {
    /// Restores the layers: the same tensors, not recomputed ones.
    ///
    /// # Errors
    /// None for the model of the layers.
    pub fn restore(self, model: &mut dyn Network) -> Result<()> {
        exchange(model, self.layers).map(|_| ())
    }
}

/// Replaces the layers of the model, in visiting order, and returns the previous ones.
fn exchange(
    model: &mut dyn Network,
    layers: Vec<Box<dyn LinearLayer>>,
) -> Result<Vec<Box<dyn LinearLayer>>> {
    let mut layers = layers.into_iter();
    let mut before = Vec::new();
    model.visit_linears(&mut |slot| {
        if let Some(layer) = layers.next() {
            before.push(std::mem::replace(slot.layer, layer));
        }
        Ok(())
    })?;
    Ok(before)
}

/// Prefix of the names of the body's modules in a classifier of `transformers`.
pub const PEFT_PREFIX: &str = "transformer.";

/// Describes the linear layers of a model for [`lora::AdapterState::to_peft`].
///
/// # Errors
/// Any libtorch error.
pub fn peft_layers(model: &mut dyn Network) -> Result<Vec<PeftLayer>> {
    let mut layers = Vec::new();
    model.visit_linears(&mut |slot| {
        let prefix = if slot.name == Gpt2Classifier::HEAD { "" } else { PEFT_PREFIX };
        layers.push(PeftLayer {
            name: slot.name.to_owned(),
            module: format!("{prefix}{}", slot.name),
            outputs: slot.outputs.iter().map(|slice| (*slice).to_owned()).collect(),
            size: slot.layer.weight().size2()?.into(),
        });
        Ok(())
    })?;
    Ok(layers)
}

#[cfg(test)]
mod tests;
