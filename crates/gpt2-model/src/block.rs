//! A transformer block with layer norm before each part (Radford et al. 2019).

use tch::{TchError, Tensor};

use crate::{
    attention::{Attention, LayerCache},
    config::Activation,
    linear::LinearLayer,
    norm::LayerNorm,
};

#[derive(Debug)]
pub(crate) struct Mlp {
    pub c_fc: Box<dyn LinearLayer>,
    pub c_proj: Box<dyn LinearLayer>,
    pub activation: Activation,
}

impl Mlp {
    /// `[…, dim]` → `[…, dim]`.
    fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let inner = self.c_fc.forward(input)?;
        let inner = match self.activation {
            Activation::GeluNew => inner.f_gelu("tanh")?,
            Activation::Gelu => inner.f_gelu("none")?,
            Activation::Relu => inner.f_relu()?,
        };
        self.c_proj.forward(&inner)
    }
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
    ) -> Result<Tensor, TchError> {
        let attended = self.attn.forward(&self.ln_1.forward(input)?, cache)?.f_add(input)?;
        self.mlp.forward(&self.ln_2.forward(&attended)?)?.f_add(&attended)
    }
}
