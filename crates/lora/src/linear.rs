//! A linear layer with low-rank adapters on it.

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
