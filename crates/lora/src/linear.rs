//! A linear layer with low-rank adapters on it.

use std::ops::Range;

use tch::{Kind, TchError, Tensor, nn};

/// `A` and `B` on a range of a layer's outputs.
#[derive(Debug)]
pub(crate) struct Part {
    /// `[rank, in]`
    pub a: Tensor,
    /// `[rows, rank]`
    pub b: Tensor,
    /// First output that the part adds to.
    pub start: i64,
}

/// A frozen linear layer plus a low-rank product: `y = x Wᵀ + b + s · (x Aᵀ) Bᵀ`
/// (Hu et al. 2021, equation 3).
///
/// Where several projections share one layer, each may have an `A` and `B` of
/// its own, which add to its range of the outputs.
#[derive(Debug)]
pub struct LoraLinear {
    weight: Tensor,
    bias: Option<Tensor>,
    scale: f64,
    parts: Vec<Part>,
}

impl LoraLinear {
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>, scale: f64, parts: Vec<Part>) -> Self {
        Self { weight, bias, scale, parts }
    }

    /// The frozen weight `[out, in]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The frozen bias `[out]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Every `A` and `B` of the layer.
    pub fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        self.parts.iter().flat_map(|part| [&part.a, &part.b])
    }

    /// The sum of the ranks on this layer.
    pub fn rank(&self) -> i64 {
        self.parts.iter().map(|part| part.a.size().first().copied().unwrap_or(0)).sum()
    }

    /// The factor on the low-rank product.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// `[…, in]` → `[…, out]`.
    ///
    /// # Errors
    /// Whatever libtorch refuses, a wrong width for example.
    pub fn f_forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let output = input.f_linear(&self.weight, self.bias.as_ref())?;
        let rows = 0..self.weight.size2()?.0;
        self.f_add_product(input, output, rows)
    }

    /// Adds the low-rank product of `input` `[…, in]` to `output` `[…, rows]`, the
    /// outputs of `rows` that the frozen layer gave for it, however these were
    /// computed.
    ///
    /// # Errors
    /// As [`LoraLinear::f_forward`].
    pub fn f_add_product(
        &self,
        input: &Tensor,
        output: Tensor,
        rows: Range<i64>,
    ) -> Result<Tensor, TchError> {
        let Some((a, b)) = self.joined(&rows)? else { return Ok(output) };
        let shape = output.size();
        let flat = input.f_reshape([-1, a.size2()?.1])?;
        let output = output.f_reshape([-1, rows.end - rows.start])?;
        // The factor goes on the narrow side. Not added in place: where `output`
        // is a view of what the layer computed, that would cost its gradient a
        // copy and more.
        let inner = flat.f_linear::<Tensor>(&a, None)?.f_mul_scalar(self.scale)?;
        output.f_addmm(&inner, &b.f_tr()?)?.f_view(shape.as_slice())
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
        for (part, common) in self.parts_in(&rows)? {
            let b = part.b.f_narrow(0, common.start - part.start, common.end - common.start)?;
            let inner = input.f_linear::<Tensor>(&part.a, None)?;
            let mut product = inner.f_linear::<Tensor>(&b, None)?;
            let product = product.f_mul_scalar_(self.scale)?;
            let around = [common.start - rows.start, rows.end - common.end];
            let mut product = match around {
                [0, 0] => product,
                _ => product.f_constant_pad_nd(around)?,
            };
            // In place on the product: the output may be a view, which costs more.
            output = product.f_add_(&output)?;
        }
        Ok(output)
    }

    /// The weight with the low-rank product in it, `W + s · B A`, `[out, in]`: a
    /// plain layer of it computes what this one does (Hu et al. 2021, section 4.1).
    /// Always float32: in a type of fewer bits most of a small product would be
    /// rounded away.
    ///
    /// # Errors
    /// Whatever libtorch refuses, for want of memory for example.
    pub fn f_merged_weight(&self) -> Result<Tensor, TchError> {
        let _no_grad = tch::no_grad_guard();
        let merged = self.weight.f_to_dtype(Kind::Float, false, true)?;
        for Part { a, b, start } in &self.parts {
            let mut range = merged.f_narrow(0, *start, b.size2()?.0)?;
            let _ = range.f_add_(&b.f_mm(a)?.f_mul_scalar(self.scale)?)?;
        }
        Ok(merged)
    }

    /// The parts that add to some of `rows`, and to which.
    fn parts_in(&self, rows: &Range<i64>) -> Result<Vec<(&Part, Range<i64>)>, TchError> {
        let mut found = Vec::new();
        for part in &self.parts {
            let end = part.start + part.b.size2()?.0;
            let common = rows.start.max(part.start)..rows.end.min(end);
            if !common.is_empty() {
                found.push((part, common));
            }
        }
        Ok(found)
    }

    /// The parts that add to `rows` as one product: `A`s on top of each other
    /// `[Σ rank, in]`, `B`s along a diagonal `[rows, Σ rank]` with zeros where no
    /// part adds. `None` if none does.
    fn joined(&self, rows: &Range<i64>) -> Result<Option<(Tensor, Tensor)>, TchError> {
        let parts = self.parts_in(rows)?;
        let a: Vec<&Tensor> = parts.iter().map(|(part, _)| &part.a).collect();
        let gap = |rows: i64| Tensor::f_zeros([rows, 0], (Kind::Float, self.weight.device()));
        let mut diagonal = Vec::new();
        let mut row = rows.start;
        for (part, common) in &parts {
            if common.start > row {
                diagonal.push(gap(common.start - row)?);
            }
            let length = common.end - common.start;
            diagonal.push(part.b.f_narrow(0, common.start - part.start, length)?);
            row = common.end;
        }
        if row < rows.end {
            diagonal.push(gap(rows.end - row)?);
        }
        Ok(match (a.as_slice(), diagonal.as_slice()) {
            ([], _) => None,
            ([a], [b]) => Some((a.shallow_clone(), b.shallow_clone())),
            _ => Some((Tensor::f_cat(&a, 0)?, Tensor::f_block_diag(&diagonal)?)),
        })
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
