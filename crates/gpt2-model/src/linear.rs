//! Linear layers, and the seam at which a caller replaces them.

use std::{fmt, ops::Range};

use tch::{Kind, TchError, Tensor};

use crate::{arithmetic::Arithmetic, product::product};

/// A layer that computes `y = x Wᵀ + b`, or that and something added to it.
///
/// [`Linear`] is the plain one. A method that adapts linear layers implements
/// this trait for its own layer and puts it in place with
/// [`Gpt2::visit_linears`](crate::Gpt2::visit_linears).
pub trait LinearLayer: fmt::Debug + Send {
    /// `[…, in]` → the outputs of `rows` alone, `[…, rows]`, as if they were a
    /// layer of their own.
    ///
    /// # Errors
    /// Whatever libtorch refuses, a wrong width for example, and rows that the
    /// layer does not have.
    fn forward_rows(
        &self,
        input: &Tensor,
        rows: Range<i64>,
        arithmetic: Arithmetic,
    ) -> Result<Tensor, TchError>;

    /// `[…, in]` → `[…, out]`.
    ///
    /// # Errors
    /// As [`LinearLayer::forward_rows`].
    fn forward(&self, input: &Tensor, arithmetic: Arithmetic) -> Result<Tensor, TchError> {
        self.forward_rows(input, 0..self.weight().size2()?.0, arithmetic)
    }

    /// A plain layer that computes the same: the weight with everything in it
    /// that this layer adds to it, in float32.
    ///
    /// # Errors
    /// Whatever libtorch refuses, for want of memory for example.
    fn merged(&self) -> Result<Linear, TchError>;

    /// The layer's own weight `[out, in]`.
    fn weight(&self) -> &Tensor;

    /// The layer's own bias `[out]`.
    fn bias(&self) -> Option<&Tensor>;

    /// Every parameter with its name below the layer, `weight` for example.
    fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut all = vec![("weight".to_owned(), self.weight().shallow_clone())];
        all.extend(self.bias().map(|bias| ("bias".to_owned(), bias.shallow_clone())));
        all
    }

    /// The layer in one line of a module tree.
    fn describe(&self) -> String {
        let size = self.weight().size();
        let (out, input) = (size.first().unwrap_or(&0), size.get(1).unwrap_or(&0));
        format!("Linear(in_features={input}, out_features={out}, bias={})", self.bias().is_some())
    }
}

/// A plain linear layer, `y = x Wᵀ + b`. Its output is of the type of its input,
/// whatever that of its weight.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// A layer of `weight` `[out, in]` and `bias` `[out]`.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }
}

impl LinearLayer for Linear {
    fn forward_rows(
        &self,
        input: &Tensor,
        rows: Range<i64>,
        arithmetic: Arithmetic,
    ) -> Result<Tensor, TchError> {
        let length = rows.end - rows.start;
        let part = |whole: &Tensor| whole.f_narrow(0, rows.start, length);
        let (weight, bias) = (part(&self.weight)?, self.bias.as_ref().map(part).transpose()?);
        if arithmetic == Arithmetic::Stepwise {
            return input.f_linear(&weight, bias.as_ref());
        }
        let mut shape = input.size();
        let flat = input.f_reshape([-1, shape.last().copied().unwrap_or(0)])?;
        // A weight of another type is multiplied in its own.
        let flat = flat.f_to_kind(weight.kind())?;
        let output = product(&flat, &weight, bias.as_ref())?.f_to_kind(input.kind())?;
        if let Some(last) = shape.last_mut() {
            *last = length;
        }
        output.f_view(shape.as_slice())
    }

    fn merged(&self) -> Result<Linear, TchError> {
        let float = |tensor: &Tensor| tensor.f_to_kind(Kind::Float);
        Ok(Self::new(float(&self.weight)?, self.bias.as_ref().map(float).transpose()?))
    }

    fn weight(&self) -> &Tensor {
        &self.weight
    }

    fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}

/// A place in the model that holds a linear layer.
#[derive(Debug)]
pub struct LinearSlot<'a> {
    /// Its name in the Hugging Face layout, `h.0.attn.c_attn` for example.
    pub name: &'a str,
    /// Names of the equal parts that the output is made of, for a layer that
    /// computes several projections at once (`q`, `k`, `v` of `c_attn`); else empty.
    pub outputs: &'static [&'static str],
    /// The layer, to be read or replaced.
    pub layer: &'a mut Box<dyn LinearLayer>,
}
