//! Linear layer with low-rank adapters.

use std::ops::Range;

use tch::{Kind, TchError, Tensor, nn};

use crate::layer::{
    dropout::Dropout,
    magnitude::{Magnitude, row_lengths},
    slice::{JoinedSlices, Slice, slices_in},
};

/// Frozen linear layer plus a low-rank product: `y = x Wᵀ + b + s · (x Aᵀ) Bᵀ`
/// (Hu et al. 2021, equation 3).
///
/// [`LoraLinear::from_linear`] makes one from a `tch` layer,
/// [`Injector`](crate::Injector) the ones of a whole model. Where several projections
/// share one layer, each slice of the outputs may have its own `A` and `B`.
///
/// With magnitudes `m` (Liu et al. 2024, equation 5) it is `y = m / ‖W + s B A‖ ⊙
/// (x Wᵀ + s · (x Aᵀ) Bᵀ) + b`, where `‖·‖` is the norm of each row. Dropout applies to
/// the `x` before `A` alone, with DoRA too: Hugging Face PEFT drops the `x` before
/// `W` as well while a DoRA layer is trained, at the price of a second product with
/// `W`; without dropout and outside training the two are the same.
#[derive(Debug)]
pub struct LoraLinear {
    base: Tensor,
    /// Weight that the adapters are added to: `base`, or its PiSSA residual.
    weight: Tensor,
    bias: Option<Tensor>,
    slices: Vec<Slice>,
    magnitude: Option<Magnitude>,
    dropout: Dropout,
    merged: Option<Tensor>,
}

/// Adapter on a range of the outputs of a layer: `s · (x Aᵀ) Bᵀ`.
#[derive(Clone, Copy, Debug)]
pub struct LoraTerm<'a> {
    /// `[rank, in]`
    pub a: &'a Tensor,
    /// `[outputs, rank]`
    pub b: &'a Tensor,
    /// First output.
    pub start: i64,
    /// Factor on the product.
    pub scale: f64,
}

impl LoraLinear {
    /// Creates a layer. `residual` is the weight `base` without what PiSSA moved into
    /// the adapters.
    pub(crate) fn new(
        base: Tensor,
        residual: Option<Tensor>,
        bias: Option<Tensor>,
        slices: Vec<Slice>,
        dropout: Dropout,
    ) -> Self {
        let weight = residual.unwrap_or_else(|| base.shallow_clone());
        Self { base, weight, bias, slices, magnitude: None, dropout, merged: None }
    }

    /// Adds magnitudes `[out]`.
    pub(crate) fn with_magnitude(mut self, magnitude: Tensor) -> Result<Self, TchError> {
        self.magnitude = Some(Magnitude::new(magnitude, &self.weight)?);
        Ok(self)
    }

    /// Frozen weight `[out, in]` that the layer multiplies by: the original one, its
    /// PiSSA residual, or the merged one while the layer is merged.
    /// [`LoraLinear::f_add_product`] expects an output computed with it.
    pub fn weight(&self) -> &Tensor {
        self.merged.as_ref().unwrap_or(&self.weight)
    }

    /// Original weight `[out, in]`, which is never written to.
    pub fn base_weight(&self) -> &Tensor {
        &self.base
    }

    /// Frozen bias `[out]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Trainable parameters: every `A` and `B`, then the magnitudes of DoRA.
    pub fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        let magnitude = self.magnitude.iter().map(|magnitude| &magnitude.magnitude);
        self.slices.iter().flat_map(|slice| [&slice.a, &slice.b]).chain(magnitude)
    }

    /// Returns the adapters as terms that are added to the product with
    /// [`LoraLinear::weight`], in the order of their outputs; `None` with DoRA magnitudes, which
    /// are not added. A merged layer has no terms.
    pub fn terms(&self) -> Option<Vec<LoraTerm<'_>>> {
        if self.merged.is_some() {
            return Some(Vec::new());
        }
        let slices = self.magnitude.is_none().then_some(&self.slices)?;
        let terms = slices.iter().map(|slice| {
            let Slice { a, b, start, scale } = slice;
            LoraTerm { a, b, start: *start, scale: *scale }
        });
        Some(terms.collect())
    }

    /// Dropout probability on the adapter input: 0 outside training.
    pub fn active_dropout(&self) -> f64 {
        if self.dropout.is_training() { self.dropout.probability } else { 0.0 }
    }

    /// Sum of the ranks on this layer.
    pub fn rank(&self) -> i64 {
        self.slices.iter().map(|slice| slice.a.size().first().copied().unwrap_or(0)).sum()
    }

    /// Factor on the low-rank product; where slices differ, the factor of the first.
    pub fn scale(&self) -> f64 {
        self.slices.first().map_or(0.0, |slice| slice.scale)
    }

    /// `[…, in]` → `[…, out]`, in the number format of the input. Dropout is active
    /// while the layer's adapter is in training mode
    /// ([`Adapter::set_training`](crate::Adapter::set_training)).
    ///
    /// # Errors
    /// Any libtorch error, for example a wrong input width.
    pub fn f_forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        self.f_forward_t(input, self.dropout.is_training())
    }

    /// [`LoraLinear::f_forward`] with dropout if `train` is set.
    ///
    /// # Errors
    /// See [`LoraLinear::f_forward`].
    pub fn f_forward_t(&self, input: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let (weight, bias) = (self.weight(), self.bias.as_ref());
        let bias = bias.map(|bias| bias.f_to_kind(weight.kind())).transpose()?;
        let output = input.f_to_kind(weight.kind())?.f_linear(weight, bias.as_ref())?;
        let output = output.f_to_kind(input.kind())?;
        let rows = 0..self.weight.size2()?.0;
        self.add_product(input, output, rows, train)
    }

    /// Adds the low-rank product of `input` `[…, in]` to `output` `[…, rows]`, the
    /// outputs `rows` of the frozen layer, bias included, however these were
    /// computed. Magnitudes are applied as well. A merged layer returns `output`
    /// unchanged.
    ///
    /// # Errors
    /// See [`LoraLinear::f_forward`].
    pub fn f_add_product(
        &self,
        input: &Tensor,
        output: Tensor,
        rows: Range<i64>,
    ) -> Result<Tensor, TchError> {
        self.add_product(input, output, rows, self.dropout.is_training())
    }

    fn add_product(
        &self,
        input: &Tensor,
        output: Tensor,
        rows: Range<i64>,
        train: bool,
    ) -> Result<Tensor, TchError> {
        if self.merged.is_some() {
            return Ok(output);
        }
        let joined = JoinedSlices::new(&self.slices, &rows, self.weight.device())?;
        let Some(JoinedSlices { a, b, scale }) = joined else {
            return self.scaled(output, &rows);
        };
        let shape = output.size();
        let flat = self.dropout.apply(&input.f_reshape([-1, a.size2()?.1])?, train)?;
        let output = output.f_reshape([-1, rows.end - rows.start])?;
        // The factor multiplies the narrow side. Not added in place: where `output`
        // is a view of a computed tensor, that would cost its gradient a copy and
        // more.
        let inner = flat.f_linear::<Tensor>(&a, None)?.f_mul_scalar(scale)?;
        let sum = output.f_addmm(&inner, &b.f_tr()?)?;
        self.scaled(sum, &rows)?.f_view(shape.as_slice())
    }

    /// [`LoraLinear::f_add_product`] with one operation for each sign of `y + s ·
    /// ((x Aᵀ) Bᵀ)` and one product per adapter, as PyTorch programs write it. The
    /// result differs in rounding only.
    ///
    /// # Errors
    /// See [`LoraLinear::f_forward`].
    pub fn f_add_stepwise(
        &self,
        input: &Tensor,
        mut output: Tensor,
        rows: Range<i64>,
    ) -> Result<Tensor, TchError> {
        if self.merged.is_some() {
            return Ok(output);
        }
        let slices = slices_in(&self.slices, &rows)?;
        if slices.is_empty() {
            return self.scaled(output, &rows);
        }
        let input = self.dropout.apply(input, self.dropout.is_training())?;
        for (slice, common) in slices {
            let b = slice.b.f_narrow(0, common.start - slice.start, common.end - common.start)?;
            let inner = input.f_linear::<Tensor>(&slice.a, None)?;
            let mut product = inner.f_linear::<Tensor>(&b, None)?;
            let product = product.f_mul_scalar_(slice.scale)?;
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

    /// Applies the magnitudes to `output` `[…, rows]`, the sum of base and adapters
    /// with the bias, which they leave unchanged.
    fn scaled(&self, output: Tensor, rows: &Range<i64>) -> Result<Tensor, TchError> {
        let Some(magnitude) = &self.magnitude else { return Ok(output) };
        let gain = magnitude.gain(&self.weight, &self.slices, rows)?;
        let Some(bias) = &self.bias else { return output.f_mul(&gain) };
        let bias = bias.f_narrow(0, rows.start, rows.end - rows.start)?.f_to_kind(Kind::Float)?;
        // (y − b) ⊙ g + b
        bias.f_sub(&bias.f_mul(&gain)?)?.f_addcmul(&output, &gain)
    }

    /// Merged weight, `W + s · B A` (with magnitudes `m / ‖W + s B A‖ ⊙ (W + s B A)`),
    /// `[out, in]`: a plain layer with it computes what this one does (Hu et al. 2021,
    /// section 4.1). It is float32 whatever the base is, because bfloat16 or float16
    /// would round most of the update away.
    pub fn f_merged_weight(&self) -> Result<Tensor, TchError> {
        let _no_grad = tch::no_grad_guard();
        let merged = self.weight.f_to_dtype(Kind::Float, false, true)?;
        for Slice { a, b, start, scale } in &self.slices {
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

    /// Merges the layer: it then computes one product, with the merged weight. Later
    /// changes of the parameters show only after another merge.
    ///
    /// # Errors
    /// See [`LoraLinear::f_merged_weight`].
    pub fn merge(&mut self) -> Result<(), TchError> {
        self.merged = Some(self.f_merged_weight()?);
        Ok(())
    }

    /// Undoes [`LoraLinear::merge`]. The weight is the one from before; it is not
    /// recomputed.
    pub fn unmerge(&mut self) {
        self.merged = None;
    }

    /// Returns whether the layer is merged.
    pub fn is_merged(&self) -> bool {
        self.merged.is_some()
    }
}

/// For use among `tch` layers; `train` decides about dropout. Like them it panics on a
/// wrong shape, where [`LoraLinear::f_forward_t`] returns an error.
impl nn::ModuleT for LoraLinear {
    #[allow(clippy::expect_used, reason = "the trait cannot return an error")]
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        self.f_forward_t(input, train).expect("the input does not fit this LoRA layer")
    }
}
