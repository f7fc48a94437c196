//! Linear layers and the interface for replacing them.

use std::{fmt, ops::Range, sync::Arc};

use kernels::PackedWeights;
use tch::{Kind, TchError, Tensor};

use crate::{
    engine::panels::{Direction, PanelCache},
    error::Result as ModelResult,
    model::{arithmetic::Arithmetic, product::product},
};

/// Layer that computes `y = x Wᵀ + b`, possibly with something added to it.
///
/// [`Linear`] is the plain one. A method that adapts linear layers implements this
/// trait for its own layer and puts it in place with
/// [`Gpt2::visit_linears`](crate::Gpt2::visit_linears).
pub trait LinearLayer: fmt::Debug + Send {
    /// `[…, in]` → `[…, out]`.
    ///
    /// # Errors
    /// Any libtorch error, for example a wrong input width.
    fn forward(&self, input: &Tensor) -> Result<Tensor, TchError>;

    /// The layer's own weight `[out, in]`.
    fn weight(&self) -> &Tensor;

    /// The layer's own bias `[out]`.
    fn bias(&self) -> Option<&Tensor>;

    /// `[…, in]` → the outputs `rows` alone, `[…, rows]`. Attention asks for queries,
    /// keys and values apart; a layer that computes no more than these saves time.
    ///
    /// # Errors
    /// As [`LinearLayer::forward`], and rows that the layer does not have.
    fn forward_rows(&self, input: &Tensor, rows: Range<i64>) -> Result<Tensor, TchError> {
        self.forward(input)?.f_narrow(-1, rows.start, rows.end - rows.start)
    }

    /// Returns the layer as a frozen product plus low-rank terms, which the CPU kernels compute;
    /// `None` if it is anything else.
    fn low_rank(&self) -> Option<LowRankLayer<'_>> {
        None
    }

    /// Returns a plain float32 layer with the same outputs: the weight with everything
    /// merged into it that this layer adds.
    fn merged(&self) -> Result<Linear, TchError> {
        let float = |tensor: &Tensor| tensor.f_to_kind(Kind::Float);
        Ok(Linear::new(float(self.weight())?, self.bias().map(float).transpose()?))
    }

    /// Returns every parameter with its name below the layer, for example `weight`.
    fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut all = vec![("weight".to_owned(), self.weight().shallow_clone())];
        all.extend(self.bias().map(|bias| ("bias".to_owned(), bias.shallow_clone())));
        all
    }

    /// Describes the layer in one line of a module tree.
    fn describe(&self) -> String {
        let size = self.weight().size();
        let (out, input) = (size.first().unwrap_or(&0), size.get(1).unwrap_or(&0));
        format!("Linear(in_features={input}, out_features={out}, bias={})", self.bias().is_some())
    }
}

/// Frozen linear layer with trainable low-rank terms: `y = x Wᵀ + b + Σ s d(x) Aᵀ Bᵀ`, where
/// `d` is dropout and each term changes a range of outputs.
#[derive(Debug)]
pub struct LowRankLayer<'a> {
    /// Frozen layer, `x Wᵀ + b`.
    pub base: &'a Linear,
    /// Terms in the order of their outputs.
    pub terms: Vec<LowRankTerm<'a>>,
    /// Probability that an element of the input of the terms is dropped; 0 outside training.
    pub dropout: f64,
}

/// Low-rank term on a range of the outputs of a layer.
#[derive(Clone, Copy, Debug)]
pub struct LowRankTerm<'a> {
    /// `[rank, in]`
    pub a: &'a Tensor,
    /// `[outputs, rank]`
    pub b: &'a Tensor,
    /// First output.
    pub start: i64,
    /// Factor on the product.
    pub scale: f64,
}

/// Plain linear layer, `y = x Wᵀ + b`. Its output has the number format of its input,
/// whatever the format of its weight.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    arithmetic: Arithmetic,
    panels: PanelCache,
}

impl Linear {
    /// Creates a layer of `weight` `[out, in]` and `bias` `[out]`.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias, arithmetic: Arithmetic::default(), panels: PanelCache::default() }
    }

    /// Creates a plain layer of the weight and bias of another, which are shared.
    pub fn share(layer: &dyn LinearLayer) -> Self {
        Self::new(layer.weight().shallow_clone(), layer.bias().map(Tensor::shallow_clone))
    }

    /// Sets how the layer computes.
    #[must_use]
    pub fn with_arithmetic(self, arithmetic: Arithmetic) -> Self {
        Self { arithmetic, ..self }
    }

    /// Returns the weight of some outputs, packed for the CPU kernels.
    pub(crate) fn panels(
        &self,
        direction: Direction,
        outputs: &Range<i64>,
    ) -> ModelResult<Arc<PackedWeights>> {
        self.panels.get(direction, outputs, &self.weight)
    }
}

impl LinearLayer for Linear {
    fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        self.forward_rows(input, 0..self.weight.size2()?.0)
    }

    fn weight(&self) -> &Tensor {
        &self.weight
    }

    fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    fn low_rank(&self) -> Option<LowRankLayer<'_>> {
        Some(LowRankLayer { base: self, terms: Vec::new(), dropout: 0.0 })
    }

    fn forward_rows(&self, input: &Tensor, rows: Range<i64>) -> Result<Tensor, TchError> {
        let length = rows.end - rows.start;
        let slice = |whole: &Tensor| whole.f_narrow(0, rows.start, length);
        let (weight, bias) = (slice(&self.weight)?, self.bias.as_ref().map(slice).transpose()?);
        if self.arithmetic == Arithmetic::Stepwise {
            return input.f_linear(&weight, bias.as_ref());
        }
        let mut shape = input.size();
        let flat = input.f_reshape([-1, shape.last().copied().unwrap_or(0)])?;
        // A weight of another format is multiplied in its own.
        let flat = flat.f_to_kind(weight.kind())?;
        let output = product(&flat, &weight, bias.as_ref())?.f_to_kind(input.kind())?;
        if let Some(last) = shape.last_mut() {
            *last = length;
        }
        output.f_view(shape.as_slice())
    }
}

/// Place in the model that holds a linear layer.
#[derive(Debug)]
pub struct LinearSlot<'a> {
    /// Name in the Hugging Face layout, for example `h.0.attn.c_attn`.
    pub name: &'a str,
    /// Names of the equal slices of the output of a layer that computes several
    /// projections at once (`q`, `k`, `v` of `c_attn`); otherwise empty.
    pub outputs: &'static [&'static str],
    /// Arithmetic of the model, which a layer put in this place should follow.
    pub arithmetic: Arithmetic,
    /// The layer, to be read or replaced.
    pub layer: &'a mut Box<dyn LinearLayer>,
}
