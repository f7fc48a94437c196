//! A linear layer with low-rank adapters on it.

use std::ops::Range;

use tch::{Kind, TchError, Tensor, nn};

use crate::{
    dropout::Dropout,
    magnitude::{Magnitude, row_lengths},
    part::{Joined, Part, parts_in},
};

/// A frozen linear layer plus a low-rank product: `y = x Wᵀ + b + s · (x Aᵀ) Bᵀ`
/// (Hu et al. 2021, equation 3).
///
/// Where several projections share one layer, each may have an `A` and `B` of
/// its own, which add to its range of the outputs.
///
/// With magnitudes `m` (Liu et al. 2024, equation 5) it is `y = m / ‖W + s B A‖ ⊙
/// (x Wᵀ + s · (x Aᵀ) Bᵀ) + b`, where `‖·‖` is the length of each row. Dropout is on
/// the `x` before `A` alone, with DoRA too: Hugging Face PEFT drops the `x` before
/// `W` as well while a DoRA layer is trained, at the price of a second product with
/// `W`; without dropout and outside training the two are the same.
#[derive(Debug)]
pub struct LoraLinear {
    base: Tensor,
    /// What the adapters are added to: `base`, or what PiSSA left of it.
    weight: Tensor,
    bias: Option<Tensor>,
    parts: Vec<Part>,
    magnitude: Option<Magnitude>,
    dropout: Dropout,
    merged: Option<Tensor>,
}

impl LoraLinear {
    /// `rest` is what PiSSA left of the weight `base`, if it took something out.
    pub(crate) fn new(
        base: Tensor,
        rest: Option<Tensor>,
        bias: Option<Tensor>,
        parts: Vec<Part>,
        dropout: Dropout,
    ) -> Self {
        let weight = rest.unwrap_or_else(|| base.shallow_clone());
        Self { base, weight, bias, parts, magnitude: None, dropout, merged: None }
    }

    /// With magnitudes `[out]`.
    pub(crate) fn with_magnitude(mut self, magnitude: Tensor) -> Result<Self, TchError> {
        self.magnitude = Some(Magnitude::new(magnitude, &self.weight)?);
        Ok(self)
    }

    /// The frozen weight `[out, in]` that the layer multiplies with: the one it
    /// was made of; what PiSSA left of that; or the merged one while it is merged.
    /// [`LoraLinear::f_add_product`] wants an output that was computed with it.
    pub fn weight(&self) -> &Tensor {
        self.merged.as_ref().unwrap_or(&self.weight)
    }

    /// The weight `[out, in]` that the layer was made of, which nothing changes.
    pub fn base_weight(&self) -> &Tensor {
        &self.base
    }

    /// The frozen bias `[out]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Every `A` and `B` of the layer, then its magnitudes if it has any.
    pub fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        let magnitude = self.magnitude.iter().map(|magnitude| &magnitude.magnitude);
        self.parts.iter().flat_map(|part| [&part.a, &part.b]).chain(magnitude)
    }

    /// The sum of the ranks on this layer.
    pub fn rank(&self) -> i64 {
        self.parts.iter().map(|part| part.a.size().first().copied().unwrap_or(0)).sum()
    }

    /// The factor on the low-rank product; where parts differ, that of the first.
    pub fn scale(&self) -> f64 {
        self.parts.first().map_or(0.0, |part| part.scale)
    }

    /// `[…, in]` → `[…, out]`, of the type of the input.
    ///
    /// # Errors
    /// Whatever libtorch refuses, a wrong width for example.
    pub fn f_forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let (weight, bias) = (self.weight(), self.bias.as_ref());
        let bias = bias.map(|bias| bias.f_to_kind(weight.kind())).transpose()?;
        let output = input.f_to_kind(weight.kind())?.f_linear(weight, bias.as_ref())?;
        let output = output.f_to_kind(input.kind())?;
        let rows = 0..self.weight.size2()?.0;
        self.f_add_product(input, output, rows)
    }

    /// Adds the low-rank product of `input` `[…, in]` to `output` `[…, rows]`, the
    /// outputs of `rows` that the frozen layer gave for it, bias included, however
    /// these were computed. With magnitudes it puts these on as well. A merged
    /// layer returns `output` as it is.
    ///
    /// # Errors
    /// As [`LoraLinear::f_forward`].
    pub fn f_add_product(
        &self,
        input: &Tensor,
        output: Tensor,
        rows: Range<i64>,
    ) -> Result<Tensor, TchError> {
        if self.merged.is_some() {
            return Ok(output);
        }
        let joined = Joined::new(&self.parts, &rows, self.weight.device())?;
        let Some(Joined { a, b, scale }) = joined else { return self.scaled(output, &rows) };
        let shape = output.size();
        let flat = self.dropout.apply(&input.f_reshape([-1, a.size2()?.1])?)?;
        let output = output.f_reshape([-1, rows.end - rows.start])?;
        // The factor goes on the narrow side. Not added in place: where `output`
        // is a view of what the layer computed, that would cost its gradient a
        // copy and more.
        let inner = flat.f_linear::<Tensor>(&a, None)?.f_mul_scalar(scale)?;
        let sum = output.f_addmm(&inner, &b.f_tr()?)?;
        self.scaled(sum, &rows)?.f_view(shape.as_slice())
    }

    /// As [`LoraLinear::f_add_product`], one operation for each sign of `y + s ·
    /// ((x Aᵀ) Bᵀ)` and one product for each adapter, as PyTorch programs write
    /// it. Rounding apart, the result is the same.
    ///
    /// # Errors
    /// As [`LoraLinear::f_forward`].
    pub fn f_add_stepwise(
        &self,
        input: &Tensor,
        mut output: Tensor,
        rows: Range<i64>,
    ) -> Result<Tensor, TchError> {
        if self.merged.is_some() {
            return Ok(output);
        }
        let parts = parts_in(&self.parts, &rows)?;
        if parts.is_empty() {
            return self.scaled(output, &rows);
        }
        let input = self.dropout.apply(input)?;
        for (part, common) in parts {
            let b = part.b.f_narrow(0, common.start - part.start, common.end - common.start)?;
            let inner = input.f_linear::<Tensor>(&part.a, None)?;
            let mut product = inner.f_linear::<Tensor>(&b, None)?;
            let product = product.f_mul_scalar_(part.scale)?;
            let around = [common.start - rows.start, rows.end - common.end];
            let mut product = match around {
                [0, 0] => product,
                _ => product.f_constant_pad_nd(around)?,
            };
            // In place on the product: the output may be a view, which costs more.
            output = product.f_add_(&output)?;
        }
        self.scaled(output, &rows)
    }

    /// Puts the magnitudes on `output` `[…, rows]`, the sum of base and adapters
    /// with the bias, which they leave alone.
    fn scaled(&self, output: Tensor, rows: &Range<i64>) -> Result<Tensor, TchError> {
        let Some(magnitude) = &self.magnitude else { return Ok(output) };
        let gain = magnitude.gain(&self.weight, &self.parts, rows)?;
        let Some(bias) = &self.bias else { return output.f_mul(&gain) };
        let bias = bias.f_narrow(0, rows.start, rows.end - rows.start)?.f_to_kind(Kind::Float)?;
        // (y − b) ⊙ g + b
        bias.f_sub(&bias.f_mul(&gain)?)?.f_addcmul(&output, &gain)
    }

    /// The weight with everything that is trained in it, `W + s · B A` (with
    /// magnitudes `m / ‖W + s B A‖ ⊙ (W + s B A)`), `[out, in]`, float32: a plain
    /// layer of it computes what this one does (Hu et al. 2021, section 4.1). It is
    /// float32 whatever the base is, for in bfloat16 or float16 most of what was
    /// trained would be rounded away.
    ///
    /// # Errors
    /// Whatever libtorch refuses, for want of memory for example.
    pub fn f_merged_weight(&self) -> Result<Tensor, TchError> {
        let _no_grad = tch::no_grad_guard();
        let merged = self.weight.f_to_dtype(Kind::Float, false, true)?;
        for Part { a, b, start, scale } in &self.parts {
            let mut range = merged.f_narrow(0, *start, b.size2()?.0)?;
            let _ = range.f_add_(&b.f_mm(a)?.f_mul_scalar(*scale)?)?;
        }
        match &self.magnitude {
            None => Ok(merged),
            Some(Magnitude { magnitude, .. }) => {
                let gain = magnitude.f_div(&row_lengths(&merged)?)?;
                merged.f_mul(&gain.f_unsqueeze(1)?)
            }
        }
    }

    /// Lets the layer compute with one product, that of the merged weight. What
    /// is trained afterwards shows only when the layer is merged anew.
    ///
    /// # Errors
    /// As [`LoraLinear::f_merged_weight`].
    pub fn merge(&mut self) -> Result<(), TchError> {
        self.merged = Some(self.f_merged_weight()?);
        Ok(())
    }

    /// Undoes [`LoraLinear::merge`]. The weight is the one from before, not one
    /// computed back.
    pub fn unmerge(&mut self) {
        self.merged = None;
    }

    /// Whether the layer is merged.
    pub fn is_merged(&self) -> bool {
        self.merged.is_some()
    }
}

/// For use among `tch` layers. As with these, a wrong shape panics;
/// [`LoraLinear::f_forward`] returns an error instead.
impl nn::Module for LoraLinear {
    #[allow(clippy::expect_used, reason = "the trait has no way to return an error")]
    fn forward(&self, input: &Tensor) -> Tensor {
        self.f_forward(input).expect("a LoRA layer was given a tensor that it cannot take")
    }
}
