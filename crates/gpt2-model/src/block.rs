//! A transformer block with layer norm before each part (Radford et al. 2019).

use tch::{TchError, Tensor};

use crate::{
    arithmetic::Arithmetic,
    attention::{Attention, LayerCache},
    config::Activation,
    linear::LinearLayer,
    norm::LayerNorm,
    packed::PackedRows,
};

#[derive(Debug)]
pub(crate) struct Mlp {
    pub c_fc: Box<dyn LinearLayer>,
    pub c_proj: Box<dyn LinearLayer>,
    pub activation: Activation,
}

impl Mlp {
    /// `[…, dim]` → `[…, dim]`.
    fn forward(&self, input: &Tensor, arithmetic: Arithmetic) -> Result<Tensor, TchError> {
        let inner = self.c_fc.forward(input, arithmetic)?;
        let inner = match (self.activation, arithmetic) {
            (Activation::GeluNew, Arithmetic::Fused) => inner.f_gelu("tanh")?,
            (Activation::GeluNew, Arithmetic::Stepwise) => gelu_new(&inner)?,
            (Activation::Gelu, _) => inner.f_gelu("none")?,
            (Activation::Relu, _) => inner.f_relu()?,
        };
        self.c_proj.forward(&inner, arithmetic)
    }
}

/// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`, step by step.
fn gelu_new(x: &Tensor) -> Result<Tensor, TchError> {
    // libtorch's root, which is not the nearest float32.
    let factor = Tensor::f_from_slice(&[std::f32::consts::FRAC_2_PI])?.f_to_device(x.device())?;
    let factor = factor.f_squeeze()?.f_sqrt()?;
    let half = x.f_mul_scalar(0.5)?;
    // In place where autograd needs no value that is overwritten.
    let mut bend = x.f_pow_tensor_scalar(3)?.f_mul_scalar_(0.044715)?.f_add_(x)?;
    let bend = bend.f_mul_(&factor)?.f_tanh_()?;
    half.f_mul(&bend.f_add_scalar(1.0)?)
}

#[derive(Debug)]
pub(crate) struct Block {
    pub ln_1: LayerNorm,
    pub attn: Attention,
    pub ln_2: LayerNorm,
    pub mlp: Mlp,
}

impl Block {
    /// `[batch, seq, dim]` → `[batch, seq, dim]`.
    pub fn forward(
        &self,
        input: &Tensor,
        cache: Option<&mut LayerCache>,
        arithmetic: Arithmetic,
    ) -> Result<Tensor, TchError> {
        let normal = self.ln_1.forward(input, arithmetic)?;
        let attended = self.attn.forward(&normal, cache, arithmetic)?.f_add(input)?;
        self.feed_forward(&attended, arithmetic)
    }

    /// `[tokens, dim]` of packed rows → `[tokens, dim]`.
    pub fn forward_packed(&self, input: &Tensor, rows: &PackedRows) -> Result<Tensor, TchError> {
        let normal = self.ln_1.forward(input, Arithmetic::Fused)?;
        let attended = self.attn.forward_packed(&normal, rows)?.f_add(input)?;
        self.feed_forward(&attended, Arithmetic::Fused)
    }

    /// `[tokens, dim]` of packed rows → `[rows, dim]`, that of their last tokens
    /// alone: of the others, only what these look at is computed.
    pub fn forward_last(&self, input: &Tensor, rows: &PackedRows) -> Result<Tensor, TchError> {
        let normal = self.ln_1.forward(input, Arithmetic::Fused)?;
        let attended = self.attn.forward_last(&normal, rows)?;
        let attended = attended.f_add(&input.f_index_select(0, rows.last())?)?;
        self.feed_forward(&attended, Arithmetic::Fused)
    }

    fn feed_forward(&self, input: &Tensor, arithmetic: Arithmetic) -> Result<Tensor, TchError> {
        let normal = self.ln_2.forward(input, arithmetic)?;
        self.mlp.forward(&normal, arithmetic)?.f_add(input)
    }

    /// The linear layers, in the order they are computed.
    pub fn linears(&self) -> [&dyn LinearLayer; 4] {
        let (attn, mlp) = (&self.attn, &self.mlp);
        [attn.c_attn.as_ref(), attn.c_proj.as_ref(), mlp.c_fc.as_ref(), mlp.c_proj.as_ref()]
    }
}
