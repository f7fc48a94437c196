//! Causal multi-head self-attention (Vaswani et al. 2017, equation 1).

use tch::{Kind, TchError, Tensor};

use crate::{
    arithmetic::Arithmetic,
    linear::{self, LinearLayer},
};

/// Names of the three projections in the output of `c_attn`, in order.
pub(crate) const QKV: &[&str] = &["q", "k", "v"];

#[derive(Debug)]
pub(crate) struct Attention {
    pub c_attn: Box<dyn LinearLayer>,
    pub c_proj: Box<dyn LinearLayer>,
    pub heads: i64,
    pub scale: f64,
}

/// Keys and values `[batch, heads, seq, head_dim]` of the tokens seen so far.
#[derive(Debug, Default)]
pub(crate) struct LayerCache {
    kept: Option<(Tensor, Tensor)>,
}

impl LayerCache {
    /// Appends the keys and values of new tokens and returns all of them.
    fn extend(&mut self, key: Tensor, value: Tensor) -> Result<(Tensor, Tensor), TchError> {
        let (key, value) = match &self.kept {
            None => (key, value),
            Some((old_key, old_value)) => {
                (Tensor::f_cat(&[old_key, &key], 2)?, Tensor::f_cat(&[old_value, &value], 2)?)
            }
        };
        self.kept = Some((key.shallow_clone(), value.shallow_clone()));
        Ok((key, value))
    }
}

impl Attention {
    /// `[batch, seq, dim]` → `[batch, seq, dim]`. With a cache, the input holds
    /// new tokens only: all of the prompt, then one at a time.
    pub fn forward(
        &self,
        input: &Tensor,
        cache: Option<&mut LayerCache>,
        arithmetic: Arithmetic,
    ) -> Result<Tensor, TchError> {
        let (batch, seq, dim) = input.size3()?;
        let mixed = match arithmetic {
            Arithmetic::Fused => self.fused(input, cache)?,
            Arithmetic::Stepwise => self.stepwise(input, cache)?,
        };
        let mixed = mixed.f_transpose(1, 2)?.f_reshape([batch, seq, dim])?;
        linear::forward(self.c_proj.as_ref(), &mixed, arithmetic)
    }

    /// `[batch, seq, dim]` → what each head takes from the tokens that it sees,
    /// `[batch, heads, seq, head_dim]`.
    fn fused(&self, input: &Tensor, cache: Option<&mut LayerCache>) -> Result<Tensor, TchError> {
        let (batch, seq, dim) = input.size3()?;
        let qkv = self.c_attn.forward(input)?;
        // Views into one buffer: [3, batch, heads, seq, head_dim], nothing is copied.
        let qkv = qkv.f_view([batch, seq, 3, self.heads, dim / self.heads])?;
        let qkv = qkv.f_permute([2, 0, 3, 1, 4])?;
        let query = qkv.f_select(0, 0)?;
        let (mut key, mut value) = (qkv.f_select(0, 1)?, qkv.f_select(0, 2)?);
        if let Some(cache) = cache {
            (key, value) = cache.extend(key, value)?;
        }
        // Several tokens are the start of a sequence and see what is before
        // them; a single one comes last and sees everything.
        let causal = seq > 1;
        Tensor::f_scaled_dot_product_attention::<Tensor>(
            &query, &key, &value, None, 0.0, causal, self.scale, false,
        )
    }

    /// As [`Attention::fused`].
    fn stepwise(&self, input: &Tensor, cache: Option<&mut LayerCache>) -> Result<Tensor, TchError> {
        let (batch, seq, dim) = input.size3()?;
        let part = |number: i64| {
            let part = self.c_attn.forward_rows(input, number * dim..(number + 1) * dim)?;
            part.f_view([batch, seq, self.heads, dim / self.heads])?.f_transpose(1, 2)
        };
        // The order counts: the gradients of the input are summed in its reverse.
        let (mut key, query, mut value) = (part(1)?, part(0)?, part(2)?);
        if let Some(cache) = cache {
            (key, value) = cache.extend(key, value)?;
        }
        let mut scores = query.f_matmul(&key.f_transpose(2, 3)?)?;
        if seq > 1 {
            let ones = Tensor::f_ones([seq, seq], (Kind::Bool, input.device()))?;
            scores = scores.f_masked_fill(&ones.f_triu(1)?, f64::NEG_INFINITY)?;
        }
        let weights = scores.f_div_scalar(self.scale.recip())?.f_softmax(-1, None)?;
        weights.f_matmul(&value)
    }
}
