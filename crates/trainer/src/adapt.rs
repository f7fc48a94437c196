//! LoRA on GPT-2: the one place where the two meet.

use std::ops::Range;

use gpt2_model::{Arithmetic, Gpt2Classifier, Linear, LinearLayer};
use lora::{Adapter, Injector, LoraLinear};
use tch::{Kind, TchError, Tensor};

use crate::error::{Error, Result};

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

    fn merged(&self) -> Result<Linear, TchError> {
        let bias = self.bias().map(|bias| bias.f_to_kind(Kind::Float)).transpose()?;
        Ok(Linear::new(self.lora.f_merged_weight()?, bias))
    }

    fn weight(&self) -> &Tensor {
        self.base.weight()
    }

    fn bias(&self) -> Option<&Tensor> {
        self.base.bias()
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        let adapters = self.lora.parameters();
        let adapters = adapters.map(|tensor| ("lora".to_owned(), tensor.shallow_clone()));
        self.base.parameters().into_iter().chain(adapters).collect()
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

/// Freezes the whole model, its head too, and puts the injector's adapters on it.
///
/// # Errors
/// [`Error::Lora`] if a target names no layer, or a saved adapter does not fit.
pub fn adapt(model: &mut Gpt2Classifier, injector: Injector<'_>) -> Result<Adapter> {
    adapt_where(model, injector, &|_| true)
}

/// As [`adapt`], on the layers whose names are `wanted` alone.
pub(crate) fn adapt_where(
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
