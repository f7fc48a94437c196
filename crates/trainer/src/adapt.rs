//! LoRA on GPT-2: the one place where the two meet.

use std::ops::Range;

use gpt2_model::{Gpt2Classifier, LinearLayer};
use lora::{Adapter, Injector, LoraLinear};
use tch::{TchError, Tensor};

use crate::error::{Error, Result};

/// A LoRA layer in a linear layer's place in GPT-2.
#[derive(Debug)]
struct Adapted(LoraLinear);

impl LinearLayer for Adapted {
    fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        self.0.f_forward(input)
    }

    fn forward_rows(&self, input: &Tensor, rows: Range<i64>) -> Result<Tensor, TchError> {
        self.0.f_forward_rows(input, rows)
    }

    fn weight(&self) -> &Tensor {
        self.0.weight()
    }

    fn bias(&self) -> Option<&Tensor> {
        self.0.bias()
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        let base = [("weight", Some(self.weight())), ("bias", self.bias())];
        let base = base.into_iter().filter_map(|(name, tensor)| Some((name.to_owned(), tensor?)));
        let adapters = self.0.parameters().map(|tensor| ("lora".to_owned(), tensor));
        base.chain(adapters).map(|(name, tensor)| (name, tensor.shallow_clone())).collect()
    }

    fn describe(&self) -> String {
        let (rank, scale) = (self.0.rank(), self.0.scale());
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
pub fn adapt(model: &mut Gpt2Classifier, mut injector: Injector<'_>) -> Result<Adapter> {
    lora::freeze(model.named_parameters().into_iter().map(|(_, parameter)| parameter))?;
    model.visit_linears(&mut |slot| {
        let (weight, bias) = (slot.layer.weight(), slot.layer.bias());
        if let Some(layer) = injector.adapt(slot.name, slot.outputs, weight, bias)? {
            *slot.layer = Box::new(Adapted(layer));
        }
        Ok::<(), Error>(())
    })?;
    Ok(injector.finish()?)
}
