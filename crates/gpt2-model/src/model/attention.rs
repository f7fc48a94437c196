//! Causal multi-head self-attention (Vaswani et al. 2017, equation 1).

use tch::{Kind, TchError, Tensor};

use crate::model::{
    arithmetic::Arithmetic, kv_cache::LayerCache, linear::LinearLayer, packed::PackedRows,
};

/// Names of the three projections in the output of `c_attn`, in order.
pub(crate) const QKV: &[&str] = &["q", "k", "v"];

#[derive(Debug)]
pub(crate) struct Attention {
    pub c_attn: Box<dyn LinearLayer>,
    pub c_proj: Box<dyn LinearLayer>,
    pub heads: i64,
    pub scale: f64,
    pub arithmetic: Arithmetic,
}

impl Attention {
    /// `[batch, seq, dim]` → `[batch, seq, dim]`.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let (batch, seq, dim) = input.size3()?;
        let mixed = match self.arithmetic {
            Arithmetic::Fused | Arithmetic::Kernels => self.fused(input)?,
            Arithmetic::Stepwise => self.stepwise(input)?,
        };
        let mixed = mixed.f_transpose(1, 2)?.f_reshape([batch, seq, dim])?;
        self.c_proj.forward(&mixed)
    }

    /// `[batch, seq, dim]` → output of each head, `[batch, heads, seq, head_dim]`.
    fn fused(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let (batch, seq, _) = input.size3()?;
        let qkv = self.c_attn.forward(input)?;
        let [query, key, value] = self.heads::<3>(&qkv, batch, seq)?;
        self.mix(&query, &key, &value, seq > 1)
    }

    /// `[tokens, dim]`, the new tokens of one sequence after the other, → `[tokens, dim]`. The new
    /// tokens of a sequence are its first ones, or one. `caches` has their number and the keys and
    /// values of each sequence, which are extended.
    pub fn forward_cached(
        &self,
        input: &Tensor,
        caches: &mut [(i64, &mut LayerCache)],
    ) -> Result<Tensor, TchError> {
        let qkv = self.c_attn.forward(input)?;
        let counts: Vec<i64> = caches.iter().map(|(count, _)| *count).collect();
        let mut mixed = Vec::with_capacity(caches.len());
        for ((count, cache), qkv) in caches.iter_mut().zip(qkv.f_split_with_sizes(counts, 0)?) {
            let [query, key, value] = self.heads::<3>(&qkv, 1, *count)?;
            let [key, value] = cache.extend(&key, &value)?;
            // Several tokens start a sequence and need the causal mask; a single token comes last
            // and attends to everything.
            mixed.push(self.without_heads(&self.mix(&query, &key, &value, *count > 1)?)?);
        }
        self.c_proj.forward(&Tensor::f_cat(&mixed, 0)?)
    }

    /// Scaled dot-product attention of queries, keys and values `[batch, heads, seq,
    /// head_dim]`; the result has the shape of the queries.
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
    /// Neighboring rows of one length attend together, others apart. The rows are
    /// split and joined with split, unbind and cat, whose gradients are computed at
    /// once; the gradients of narrow or select are padded with zeros to the whole
    /// tensor, once for each row.
    pub fn forward_packed(&self, input: &Tensor, rows: &PackedRows) -> Result<Tensor, TchError> {
        let qkv = self.c_attn.forward(input)?;
        let mut mixed = Vec::new();
        for (run, qkv) in rows.runs().iter().zip(rows.split(&qkv)?) {
            let [query, key, value] = self.heads::<3>(&qkv, run.rows, run.length)?;
            let causal = run.length > 1;
            mixed.push(self.without_heads(&self.mix(&query, &key, &value, causal)?)?);
        }
        self.c_proj.forward(&Tensor::f_cat(&mixed, 0)?)
    }

    /// `[tokens, dim]` of packed rows → `[rows, dim]` of their last tokens, the only
    /// queries, which attend to the whole row.
    pub fn forward_last(&self, input: &Tensor, rows: &PackedRows) -> Result<Tensor, TchError> {
        let (_, dim) = input.size2()?;
        let last = input.f_index_select(0, rows.last())?;
        let queries = self.c_attn.forward_rows(&last, 0..dim)?;
        let keys_values = self.c_attn.forward_rows(input, dim..3 * dim)?;
        let rows_of_run: Vec<i64> = rows.runs().iter().map(|run| run.rows).collect();
        let queries = queries.f_split_with_sizes(rows_of_run.as_slice(), 0)?;
        let mut mixed = Vec::new();
        let keys_values = rows.split(&keys_values)?;
        for ((run, keys_values), query) in rows.runs().iter().zip(keys_values).zip(queries) {
            let [query] = self.heads::<1>(&query, run.rows, 1)?;
            let [key, value] = self.heads::<2>(&keys_values, run.rows, run.length)?;
            mixed.push(self.without_heads(&self.mix(&query, &key, &value, false)?)?);
        }
        self.c_proj.forward(&Tensor::f_cat(&mixed, 0)?)
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
        let slices = values.f_view([batch, seq, count, self.heads, -1])?;
        let slices = slices.f_permute([2, 0, 3, 1, 4])?.f_unbind(0)?;
        let found = slices.len();
        slices.try_into().map_err(|_| TchError::Shape(format!("{found} projections, not {N}")))
    }

    /// `[batch, heads, seq, head_dim]` → `[batch · seq, dim]`.
    fn without_heads(&self, mixed: &Tensor) -> Result<Tensor, TchError> {
        let (batch, heads, seq, width) = mixed.size4()?;
        mixed.f_transpose(1, 2)?.f_reshape([batch * seq, heads * width])
    }

    /// [`Attention::fused`], one operation at a time.
    fn stepwise(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let (batch, seq, dim) = input.size3()?;
        let slice = |number: i64| {
            let slice = self.c_attn.forward_rows(input, number * dim..(number + 1) * dim)?;
            slice.f_view([batch, seq, self.heads, dim / self.heads])?.f_transpose(1, 2)
        };
        // The order matters: the gradients of the input are summed in its reverse.
        let (key, query, value) = (slice(1)?, slice(0)?, slice(2)?);
        let mut scores = query.f_matmul(&key.f_transpose(2, 3)?)?;
        if seq > 1 {
            let ones = Tensor::f_ones([seq, seq], (Kind::Bool, input.device()))?;
            scores = scores.f_masked_fill_(&ones.f_triu(1)?, f64::NEG_INFINITY)?;
        }
        let weights = scores.f_div_scalar_(self.scale.recip())?.f_softmax(-1, None)?;
        weights.f_matmul(&value)
    }
}
