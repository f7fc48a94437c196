//! Causal multi-head self-attention (Vaswani et al. 2017, equation 1).

use tch::{Kind, TchError, Tensor};

use crate::{arithmetic::Arithmetic, linear::LinearLayer, packed::PackedRows};

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
        self.c_proj.forward(&mixed, arithmetic)
    }

    /// `[batch, seq, dim]` → what each head takes from the tokens that it sees,
    /// `[batch, heads, seq, head_dim]`.
    fn fused(&self, input: &Tensor, cache: Option<&mut LayerCache>) -> Result<Tensor, TchError> {
        let (batch, seq, _) = input.size3()?;
        let qkv = self.c_attn.forward(input, Arithmetic::Fused)?;
        let [query, mut key, mut value] = self.heads::<3>(&qkv, batch, seq)?;
        if let Some(cache) = cache {
            (key, value) = cache.extend(key, value)?;
        }
        // Several tokens are the start of a sequence and see what is before
        // them; a single one comes last and sees everything.
        let causal = seq > 1;
        self.mix(&query, &key, &value, causal)
    }

    /// Queries, keys and values `[batch, heads, seq, head_dim]` → what each query
    /// takes from the values, of the same shape as the queries.
    fn mix(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        causal: bool,
    ) -> Result<Tensor, TchError> {
        Tensor::f_scaled_dot_product_attention::<Tensor>(
            query, key, value, None, 0.0, causal, self.scale, false,
        )
    }

    /// `[tokens, dim]` of packed rows → `[tokens, dim]`.
    ///
    /// Rows of one length that follow each other attend together, others apart.
    /// Cut and put together again with split, unbind and cat, whose gradients are
    /// made in one piece; those of a narrow or a select are padded with zeros to
    /// the whole, once for each row.
    pub fn forward_packed(&self, input: &Tensor, rows: &PackedRows) -> Result<Tensor, TchError> {
        let qkv = self.c_attn.forward(input, Arithmetic::Fused)?;
        let mut mixed = Vec::new();
        for (run, part) in rows.runs().iter().zip(rows.split(&qkv)?) {
            let [query, key, value] = self.heads::<3>(&part, run.rows, run.length)?;
            let causal = run.length > 1;
            mixed.push(self.without_heads(&self.mix(&query, &key, &value, causal)?)?);
        }
        self.c_proj.forward(&Tensor::f_cat(&mixed, 0)?, Arithmetic::Fused)
    }

    /// `[tokens, dim]` of packed rows → `[rows, dim]`, that of their last tokens:
    /// these alone ask, and they see everything.
    pub fn forward_last(&self, input: &Tensor, rows: &PackedRows) -> Result<Tensor, TchError> {
        let (_, dim) = input.size2()?;
        let last = input.f_index_select(0, rows.last())?;
        let queries = self.c_attn.forward_rows(&last, 0..dim, Arithmetic::Fused)?;
        let keys_values = self.c_attn.forward_rows(input, dim..3 * dim, Arithmetic::Fused)?;
        let rows_of_run: Vec<i64> = rows.runs().iter().map(|run| run.rows).collect();
        let queries = queries.f_split_with_sizes(rows_of_run.as_slice(), 0)?;
        let mut mixed = Vec::new();
        for ((run, part), query) in rows.runs().iter().zip(rows.split(&keys_values)?).zip(queries) {
            let [query] = self.heads::<1>(&query, run.rows, 1)?;
            let [key, value] = self.heads::<2>(&part, run.rows, run.length)?;
            mixed.push(self.without_heads(&self.mix(&query, &key, &value, false)?)?);
        }
        self.c_proj.forward(&Tensor::f_cat(&mixed, 0)?, Arithmetic::Fused)
    }

    /// `[batch · seq, N · dim]` or `[batch, seq, N · dim]`, `N` projections side by
    /// side, → each of them as `[batch, heads, seq, head_dim]`, views into the same
    /// memory.
    fn heads<const N: usize>(
        &self,
        values: &Tensor,
        batch: i64,
        seq: i64,
    ) -> Result<[Tensor; N], TchError> {
        let count = N as i64;
        // Minus one stands for the width of a head.
        let parts = values.f_view([batch, seq, count, self.heads, -1])?;
        let parts = parts.f_permute([2, 0, 3, 1, 4])?.f_unbind(0)?;
        let found = parts.len();
        parts.try_into().map_err(|_| TchError::Shape(format!("{found} projections, not {N}")))
    }

    /// `[batch, heads, seq, head_dim]` → `[batch · seq, dim]`.
    fn without_heads(&self, mixed: &Tensor) -> Result<Tensor, TchError> {
        let (batch, heads, seq, width) = mixed.size4()?;
        mixed.f_transpose(1, 2)?.f_reshape([batch * seq, heads * width])
    }

    /// As [`Attention::fused`].
    fn stepwise(&self, input: &Tensor, cache: Option<&mut LayerCache>) -> Result<Tensor, TchError> {
        let (batch, seq, dim) = input.size3()?;
        let part = |number: i64| {
            let rows = number * dim..(number + 1) * dim;
            let part = self.c_attn.forward_rows(input, rows, Arithmetic::Stepwise)?;
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
            scores = scores.f_masked_fill_(&ones.f_triu(1)?, f64::NEG_INFINITY)?;
        }
        let weights = scores.f_div_scalar_(self.scale.recip())?.f_softmax(-1, None)?;
        weights.f_matmul(&value)
    }
}
