//! A linear layer with low-rank adapters on it.

use std::ops::Range;

use tch::{TchError, Tensor, nn};

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
        let mut shape = input.size();
        let (out, width) = self.weight.size2()?;
        let flat = input.f_reshape([-1, width])?;
        let mut output = flat.f_linear(&self.weight, self.bias.as_ref())?;
        let (a, b) = self.joined(out)?;
        // The factor goes on the narrow side, and the product is added where
        // the base output lies: no second [n, out] tensor is made.
        let inner = flat.f_linear::<Tensor>(&a, None)?.f_mul_scalar(self.scale)?;
        let output = output.f_addmm_(&inner, &b.f_tr()?)?;
        if let Some(last) = shape.last_mut() {
            *last = out;
        }
        output.f_view(shape.as_slice())
    }

    /// The outputs of `rows` alone, `[…, in]` → `[…, rows]`, as PyTorch programs
    /// write it: `x Wᵀ + b`, and added to it `s · ((x Aᵀ) Bᵀ)`. Rounding apart,
    /// these are those outputs of [`LoraLinear::f_forward`], which is faster.
    ///
    /// # Errors
    /// As [`LoraLinear::f_forward`], and rows that the layer does not have.
    pub fn f_forward_rows(&self, input: &Tensor, rows: Range<i64>) -> Result<Tensor, TchError> {
        let length = rows.end - rows.start;
        let weight = self.weight.f_narrow(0, rows.start, length)?;
        let bias = self.bias.as_ref().map(|bias| bias.f_narrow(0, rows.start, length));
        let mut output = input.f_linear(&weight, bias.transpose()?.as_ref())?;
        for part in &self.parts {
            let end = part.start + part.b.size2()?.0;
            let common = rows.start.max(part.start)..rows.end.min(end);
            if common.is_empty() {
                continue;
            }
            let b = part.b.f_narrow(0, common.start - part.start, common.end - common.start)?;
            let inner = input.f_linear::<Tensor>(&part.a, None)?;
            let product = inner.f_linear::<Tensor>(&b, None)?.f_mul_scalar(self.scale)?;
            let around = [common.start - rows.start, rows.end - common.end];
            let product = match around {
                [0, 0] => product,
                _ => product.f_constant_pad_nd(around)?,
            };
            output = output.f_add(&product)?;
        }
        Ok(output)
    }

    /// All parts as one product: `A`s on top of each other `[Σ rank, in]`, `B`s
    /// along a diagonal `[out, Σ rank]` with zeros where no part adds.
    fn joined(&self, out: i64) -> Result<(Tensor, Tensor), TchError> {
        if let [part] = self.parts.as_slice()
            && part.b.size().first() == Some(&out)
        {
            return Ok((part.a.shallow_clone(), part.b.shallow_clone()));
        }
        let a: Vec<&Tensor> = self.parts.iter().map(|part| &part.a).collect();
        let mut diagonal = Vec::new();
        let mut row = 0;
        let gap =
            |rows: i64| Tensor::f_zeros([rows, 0], (self.weight.kind(), self.weight.device()));
        for part in &self.parts {
            if part.start > row {
                diagonal.push(gap(part.start - row)?);
            }
            diagonal.push(part.b.shallow_clone());
            row = part.start + part.b.size2()?.0;
        }
        if row < out {
            diagonal.push(gap(out - row)?);
        }
        Ok((Tensor::f_cat(&a, 0)?, Tensor::f_block_diag(&diagonal)?))
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
