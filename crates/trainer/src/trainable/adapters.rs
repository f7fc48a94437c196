//! LoRA on GPT-2: the one place where the two meet.

use std::ops::Range;

use gpt2_model::{Arithmetic, Gpt2Classifier, Linear, LinearLayer};
use lora::{Adapter, Injector, LoraLinear, peft::PeftLayer};
use tch::{TchError, Tensor};

use crate::{
    error::{Error, Result},
    trainable::parameters::HEAD,
};

/// A LoRA layer in a linear layer's place in GPT-2: the model computes its own
/// product, and the adapter adds to it.
#[derive(Debug)]
struct Adapted {
    base: Linear,
    lora: LoraLinear,
}

impl LinearLayer for Adapted {
    fn forward_rows(
        &self,
        input: &Tensor,
        rows: Range<i64>,
        arithmetic: Arithmetic,
    ) -> Result<Tensor, TchError> {
        let output = self.base.forward_rows(input, rows.clone(), arithmetic)?;
        match arithmetic {
            Arithmetic::Fused => self.lora.f_add_product(input, output, rows),
            Arithmetic::Stepwise => self.lora.f_add_stepwise(input, output, rows),
        }
    }

    /// Of float32, whatever the base is: what was trained would be lost in fewer
    /// bits.
    fn merged(&self) -> Result<Linear, TchError> {
        let weight = self.lora.f_merged_weight()?;
        let bias = self.bias().map(|bias| bias.f_to_kind(weight.kind())).transpose()?;
        Ok(Linear::new(weight, bias))
    }

    /// That of the base model, also where the layer computes with another
    /// ([`lora::Init::Pissa`]).
    fn weight(&self) -> &Tensor {
        self.lora.base_weight()
    }

    fn bias(&self) -> Option<&Tensor> {
        self.lora.bias()
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

/// A plain layer of what a layer of the model is made of, without a copy.
fn plain(layer: &dyn LinearLayer) -> Linear {
    Linear::new(layer.weight().shallow_clone(), layer.bias().map(Tensor::shallow_clone))
}

/// Freezes the whole model, its head too, and puts the injector's adapters on it.
///
/// # Errors
/// [`Error::Lora`] if a target names no layer, or a saved adapter does not fit; the
/// model is without any adapter then.
pub fn adapt(model: &mut Gpt2Classifier, injector: Injector<'_>) -> Result<Adapter> {
    adapt_where(model, injector, &|_| true)
}

/// As [`adapt`], on the layers whose names are `wanted` alone.
pub(crate) fn adapt_where(
    model: &mut Gpt2Classifier,
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
    model: &mut Gpt2Classifier,
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
            let base = Linear::new(lora.weight().shallow_clone(), bias);
            *slot.layer = Box::new(Adapted { base, lora });
        }
        Ok::<(), Error>(())
    })?;
    Ok(injector.finish()?)
}

/// Takes the adapters off the model: every linear layer is again the plain one of
/// the base model, which was shared and not copied. Another adapter can go on it
/// then.
///
/// A layer that was merged in place ([`Gpt2Classifier::merge`]) stays as it is; to
/// take adapters off a merged model, use [`merge`] and [`Unmerged::restore`].
///
/// # Errors
/// None at present.
pub fn unadapt(model: &mut Gpt2Classifier) -> Result<()> {
    model.visit_linears(&mut |slot| {
        *slot.layer = Box::new(plain(slot.layer.as_ref()));
        Ok::<(), Error>(())
    })
}

/// The layers of a model as they were before it was merged.
#[derive(Debug)]
#[must_use = "without it a merged model cannot be unmerged"]
pub struct Unmerged {
    layers: Vec<Box<dyn LinearLayer>>,
}

/// As [`Gpt2Classifier::merge`], and keeps the layers for [`Unmerged::restore`].
///
/// # Errors
/// Whatever libtorch refuses, for want of memory for example; the model is as before
/// then.
pub fn merge(model: &mut Gpt2Classifier) -> Result<Unmerged> {
    let mut merged: Vec<Box<dyn LinearLayer>> = Vec::new();
    model.visit_linears(&mut |slot| {
        merged.push(Box::new(slot.layer.merged()?));
        Ok::<(), Error>(())
    })?;
    exchange(model, merged).map(|layers| Unmerged { layers })
}

impl Unmerged {
    /// Puts the layers back: the same tensors, nothing computed back.
    ///
    /// # Errors
    /// None for the model that they are of.
    pub fn restore(self, model: &mut Gpt2Classifier) -> Result<()> {
        exchange(model, self.layers).map(|_| ())
    }
}

/// Puts `layers` in the place of those of the model, in the order of a visit, and
/// returns these.
fn exchange(
    model: &mut Gpt2Classifier,
    layers: Vec<Box<dyn LinearLayer>>,
) -> Result<Vec<Box<dyn LinearLayer>>> {
    let mut layers = layers.into_iter();
    let mut before = Vec::new();
    model.visit_linears(&mut |slot| {
        if let Some(layer) = layers.next() {
            before.push(std::mem::replace(slot.layer, layer));
        }
        Ok::<(), Error>(())
    })?;
    Ok(before)
}

/// Where `transformers` has the body of a classifier: what its modules' names begin
/// with there and not here.
pub const PEFT_PREFIX: &str = "transformer.";

/// The linear layers of a model as Hugging Face PEFT has to know them, for
/// [`lora::AdapterState::to_peft`].
///
/// # Errors
/// Whatever libtorch refuses.
pub fn peft_layers(model: &mut Gpt2Classifier) -> Result<Vec<PeftLayer>> {
    let mut layers = Vec::new();
    model.visit_linears(&mut |slot| {
        let prefix = if slot.name == HEAD { "" } else { PEFT_PREFIX };
        layers.push(PeftLayer {
            name: slot.name.to_owned(),
            module: format!("{prefix}{}", slot.name),
            outputs: slot.outputs.iter().map(|part| (*part).to_owned()).collect(),
            size: slot.layer.weight().size2()?.into(),
        });
        Ok::<(), Error>(())
    })?;
    Ok(layers)
}

#[cfg(test)]
mod tests;
