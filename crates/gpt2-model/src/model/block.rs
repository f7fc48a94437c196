//! Transformer block with layer norm before attention and MLP (Radford et al. 2019).

use gpt2_config::Activation;
use tch::{TchError, Tensor};

use crate::model::{
    arithmetic::Arithmetic,
    attention::{Attention, QKV},
    kv_cache::LayerCache,
    layer_norm::LayerNorm,
    linear::LinearLayer,
    packed::PackedRows,
};

#[derive(Debug)]
pub(crate) struct Mlp {
    pub c_fc: Box<dyn LinearLayer>,
    pub c_proj: Box<dyn LinearLayer>,
    pub activation: Activation,
    pub arithmetic: Arithmetic,
}

impl Mlp {
    /// `[…, dim]` → `[…, dim]`.
    fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let inner = self.c_fc.forward(input)?;
        let inner = match (self.activation, self.arithmetic) {
            (Activation::GeluNew, Arithmetic::Fused | Arithmetic::Kernels) => {
                inner.f_gelu("tanh")?
            }
            (Activation::GeluNew, Arithmetic::Stepwise) => gelu_new(&inner)?,
            (Activation::Gelu, _) => inner.f_gelu("none")?,
            (Activation::QuickGelu, _) => inner.f_mul(&inner.f_mul_scalar(1.702)?.f_sigmoid()?)?,
            (Activation::Relu, _) => inner.f_relu()?,
            (Activation::Silu, _) => inner.f_silu()?,
            (Activation::Tanh, _) => inner.f_tanh()?,
        };
        self.c_proj.forward(&inner)
    }
}

/// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`, step by step.
fn gelu_new(x: &Tensor) -> Result<Tensor, TchError> {
    // The square root of libtorch, which is not the nearest float32.
    let factor = Tensor::f_from_slice(&[std::f32::consts::FRAC_2_PI])?.f_to_device(x.device())?;
    let factor = factor.f_squeeze()?.f_sqrt()?;
    let half = x.f_mul_scalar(0.5)?;
    // In place where autograd does not need the overwritten value.
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

/// Name of a module, its one-line description, and its parameters with their names below it.
type Module = (&'static str, String, Vec<(String, Tensor)>);

impl Block {
    /// `[batch, seq, dim]` → `[batch, seq, dim]`.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let normal = self.ln_1.forward(input)?;
        let attended = self.attn.forward(&normal)?.f_add(input)?;
        self.feed_forward(&attended)
    }

    /// As [`Attention::forward_cached`].
    pub fn forward_cached(
        &self,
        input: &Tensor,
        caches: &mut [(i64, &mut LayerCache)],
    ) -> Result<Tensor, TchError> {
        let normal = self.ln_1.forward(input)?;
        let attended = self.attn.forward_cached(&normal, caches)?.f_add(input)?;
        self.feed_forward(&attended)
    }

    /// `[tokens, dim]` of packed rows → `[tokens, dim]`.
    pub fn forward_packed(&self, input: &Tensor, rows: &PackedRows) -> Result<Tensor, TchError> {
        let normal = self.ln_1.forward(input)?;
        let attended = self.attn.forward_packed(&normal, rows)?.f_add(input)?;
        self.feed_forward(&attended)
    }

    /// `[tokens, dim]` of packed rows → `[rows, dim]` of their last tokens; of the other
    /// tokens, only keys and values are computed.
    pub fn forward_last(&self, input: &Tensor, rows: &PackedRows) -> Result<Tensor, TchError> {
        let normal = self.ln_1.forward(input)?;
        let attended = self.attn.forward_last(&normal, rows)?;
        let attended = attended.f_add(&input.f_index_select(0, rows.last())?)?;
        self.feed_forward(&attended)
    }

    fn feed_forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let normal = self.ln_2.forward(input)?;
        self.mlp.forward(&normal)?.f_add(input)
    }

    /// Linear layers in the order of computation, with their names in the Hugging Face layout.
    pub fn linears(&self) -> [(&'static str, &dyn LinearLayer); 4] {
        [
            ("attn.c_attn", self.attn.c_attn.as_ref()),
            ("attn.c_proj", self.attn.c_proj.as_ref()),
            ("mlp.c_fc", self.mlp.c_fc.as_ref()),
            ("mlp.c_proj", self.mlp.c_proj.as_ref()),
        ]
    }

    /// Linear layers in the order of computation, each with its name in the Hugging Face
    /// layout and the names of the slices of its output.
    pub fn linears_mut(
        &mut self,
    ) -> [(&'static str, &'static [&'static str], &mut Box<dyn LinearLayer>); 4] {
        [
            ("attn.c_attn", QKV, &mut self.attn.c_attn),
            ("attn.c_proj", &[], &mut self.attn.c_proj),
            ("mlp.c_fc", &[], &mut self.mlp.c_fc),
            ("mlp.c_proj", &[], &mut self.mlp.c_proj),
        ]
    }

    /// Modules in the order of computation.
    pub fn modules(&self) -> [Module; 6] {
        let linear = |layer: &dyn LinearLayer| (layer.describe(), layer.parameters());
        let (attn, mlp) = (&self.attn, &self.mlp);
        [
            ("ln_1", self.ln_1.described()),
            ("attn.c_attn", linear(attn.c_attn.as_ref())),
            ("attn.c_proj", linear(attn.c_proj.as_ref())),
            ("ln_2", self.ln_2.described()),
            ("mlp.c_fc", linear(mlp.c_fc.as_ref())),
            ("mlp.c_proj", linear(mlp.c_proj.as_ref())),
        ]
        .map(|(name, (description, parameters))| (name, description, parameters))
    }
}
