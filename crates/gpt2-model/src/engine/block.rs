//! Transformer block: forward pass and gradients of the sequences of one thread.

use std::{ops::Range, time::Instant};

use kernels::{Attention, Error, Gelu, Isa, LayerNorm, MatrixMut, Statistics, add, resize};

use super::{
    buffer::Buffer,
    linear::{Input, LinearPass, LinearWork},
    profile::KernelProfile,
    shard::Sequences,
};

/// Layer norm in a pass.
#[derive(Debug)]
pub(super) struct NormPass {
    /// `[dim]`
    pub gamma: Vec<f32>,
    /// `[dim]`
    pub beta: Vec<f32>,
    pub epsilon: f32,
}

/// Transformer block in a pass. Of the last block only the last token of a sequence is needed,
/// so its queries are a layer of their own.
#[derive(Debug)]
pub(super) struct BlockPass<'a> {
    pub isa: Isa,
    pub attention: Attention,
    pub gelu: Gelu,
    pub norms: [NormPass; 2],
    /// Queries of the last tokens `[dim, dim]`, in the last block.
    pub query: Option<LinearPass<'a>>,
    /// Query, key and value; in the last block, key and value.
    pub c_attn: LinearPass<'a>,
    pub c_proj: LinearPass<'a>,
    pub c_fc: LinearPass<'a>,
    pub mlp_c_proj: LinearPass<'a>,
}

/// Values of a block that its gradients need. Outputs of norms and of GELU are computed again, which
/// takes less time than storing them. `tokens` are all tokens of the shard; after attention, `kept`
/// are all of them or, in the last block, the last of each sequence.
#[derive(Debug, Default)]
pub(super) struct Activations {
    /// `[tokens, dim]`
    pub input: Buffer,
    statistics: [Vec<Statistics>; 2],
    /// `[tokens, 3 dim]`
    qkv: Buffer,
    /// `[heads · kept]`
    log_sums: Vec<f32>,
    /// `[kept, dim]`
    attended: Buffer,
    /// Sum of the input and attention, `[kept, dim]`.
    middle: Buffer,
    /// Input of GELU, `[kept, inner]`.
    hidden: Buffer,
    /// Narrow sides of the terms of each layer: query, `c_attn`, `c_proj`, `c_fc`, `mlp.c_proj`.
    narrow: [Vec<Buffer>; 5],
}

/// Work memory of blocks.
#[derive(Debug, Default)]
pub(super) struct BlockWork {
    pub linear: LinearWork,
    statistics: Vec<Statistics>,
    /// Output of a norm, `[tokens, dim]` or `[kept, dim]`.
    normal: Buffer,
    /// Rows of the first norm that are queries of the last block, `[kept, dim]`.
    last_normal: Buffer,
    /// Output of GELU, `[kept, inner]`.
    activated: Buffer,
    /// Output of the residual branches, and gradients of their inputs, `[kept, dim]`.
    branch: Buffer,
    /// `[kept, inner]`
    wide: Buffer,
    /// `[tokens, 3 dim]`
    qkv: Buffer,
    /// `[tokens, dim]`
    narrow: Buffer,
    /// Gradient of the residual stream of all tokens, `[tokens, dim]`.
    residual: Buffer,
}

/// Resizes `statistics` and `normal`, and applies a norm.
fn normalize(
    isa: Isa,
    norm: &NormPass,
    input: &Buffer,
    normal: &mut Buffer,
    statistics: &mut Vec<Statistics>,
    profile: &mut KernelProfile,
) -> Result<(), Error> {
    let start = Instant::now();
    normal.reshape(input.rows(), norm.gamma.len())?;
    resize(statistics, input.rows(), Statistics::default())?;
    norm.kernel().forward(isa, &input.view()?, &mut normal.view_mut()?, statistics)?;
    profile.norms.add(start, 0);
    Ok(())
}

impl NormPass {
    fn kernel(&self) -> LayerNorm<'_> {
        LayerNorm { gamma: &self.gamma, beta: &self.beta, epsilon: self.epsilon }
    }
}

impl BlockPass<'_> {
    fn width(&self) -> usize {
        self.attention.heads * self.attention.head_size
    }

    /// Computes `output` `[kept, dim]` of `saved.input`.
    pub fn forward(
        &self,
        sequences: &Sequences,
        saved: &mut Activations,
        output: &mut Buffer,
        work: &mut BlockWork,
    ) -> Result<(), Error> {
        let (isa, width) = (self.isa, self.width());
        self.attend(sequences, saved, work)?;
        let Activations { input, statistics, attended, middle, hidden, narrow, .. } = saved;
        let BlockWork { linear, branch, normal, activated, .. } = work;
        let kept = self.kept(sequences);
        branch.reshape(kept.len(), width)?;
        let from = Input { values: attended, indices: kept };
        self.c_proj.forward(from, &mut narrow[2], &mut branch.view_mut()?, linear)?;
        match self.query {
            None => {
                middle.reshape(kept.len(), width)?;
                middle.values_mut().copy_from_slice(input.values());
            }
            Some(_) => gather(input, &sequences.last, middle)?,
        }
        add(branch.values(), middle.values_mut())?;

        normalize(isa, &self.norms[1], middle, normal, &mut statistics[1], &mut linear.profile)?;
        hidden.reshape(kept.len(), self.c_fc.bias.len())?;
        let from = Input { values: normal, indices: kept };
        self.c_fc.forward(from, &mut narrow[3], &mut hidden.view_mut()?, linear)?;
        self.activate(hidden, activated, &mut linear.profile)?;
        output.reshape(kept.len(), width)?;
        let from = Input { values: activated, indices: kept };
        self.mlp_c_proj.forward(from, &mut narrow[4], &mut output.view_mut()?, linear)?;
        add(middle.values(), output.values_mut())
    }

    /// Computes `activated`, the output of GELU.
    fn activate(
        &self,
        hidden: &Buffer,
        activated: &mut Buffer,
        profile: &mut KernelProfile,
    ) -> Result<(), Error> {
        let start = Instant::now();
        activated.reshape(hidden.rows(), hidden.columns())?;
        self.gelu.forward(self.isa, hidden.values(), activated.values_mut())?;
        profile.norms.add(start, 0);
        Ok(())
    }

    /// Computes `saved.attended` `[kept, dim]`.
    fn attend(
        &self,
        sequences: &Sequences,
        saved: &mut Activations,
        work: &mut BlockWork,
    ) -> Result<(), Error> {
        let (isa, width) = (self.isa, self.width());
        let Activations { input, statistics, qkv, attended, narrow, .. } = saved;
        let BlockWork { linear, branch, normal, last_normal, .. } = work;
        normalize(isa, &self.norms[0], input, normal, &mut statistics[0], &mut linear.profile)?;
        qkv.reshape(input.rows(), 3 * width)?;
        let from = Input { values: normal, indices: &sequences.tokens };
        let keys = self.first_column();
        let to = &mut qkv.view_mut()?;
        let to = &mut to.columns(keys..3 * width)?;
        self.c_attn.forward(from, &mut narrow[1], to, linear)?;
        if let Some(query) = &self.query {
            gather(normal, &sequences.last, last_normal)?;
            let from = Input { values: last_normal, indices: &sequences.rows };
            branch.reshape(sequences.rows.len(), width)?;
            query.forward(from, &mut narrow[0], &mut branch.view_mut()?, linear)?;
            for (row, &token) in sequences.last.iter().enumerate() {
                qkv.row_mut(token)[..width].copy_from_slice(branch.row(row));
            }
        }
        let timer = Instant::now();
        let kept = self.kept(sequences).len();
        attended.reshape(kept, width)?;
        resize(&mut saved.log_sums, self.attention.heads * kept, 0.0)?;
        let mut output = attended.view_mut()?;
        let mut pairs = 0;
        for span in self.spans(sequences) {
            pairs += span.pairs();
            self.attention.forward(
                isa,
                &qkv.view_rows(span.tokens.start, span.tokens.len())?,
                &mut output.rows(span.kept)?,
                &mut saved.log_sums[span.log_sums],
                &mut linear.scratch,
            )?;
        }
        // Products of queries and keys, and of weights and values.
        linear.profile.attention.add(timer, 4 * pairs * width);
        Ok(())
    }

    /// Adds the gradients of the terms to `gradients`, and turns `residual`, the gradient of the
    /// output `[kept, dim]`, into the gradient of the input `[tokens, dim]`. Returns false where
    /// nothing before the block is trained; `residual` is arbitrary then.
    pub fn backward(
        &self,
        sequences: &Sequences,
        saved: &Activations,
        residual: &mut Buffer,
        gradients: &mut [f32],
        work: &mut BlockWork,
    ) -> Result<bool, Error> {
        let isa = self.isa;
        let kept = self.kept(sequences);
        let BlockWork { linear, branch, wide, normal, activated, statistics, .. } = work;
        self.activate(&saved.hidden, activated, &mut linear.profile)?;
        let from = Input { values: activated, indices: kept };
        let (gradient, narrow) = (&residual.view()?, &saved.narrow[4]);
        if !self.mlp_c_proj.backward(gradient, from, narrow, gradients, wide, linear)? {
            return Ok(false);
        }
        let start = Instant::now();
        self.gelu.backward(isa, saved.hidden.values(), wide.values_mut())?;
        linear.profile.norms.add(start, 0);
        normalize(isa, &self.norms[1], &saved.middle, normal, statistics, &mut linear.profile)?;
        let from = Input { values: normal, indices: kept };
        let (gradient, narrow) = (&wide.view()?, &saved.narrow[3]);
        if !self.c_fc.backward(gradient, from, narrow, gradients, branch, linear)? {
            return Ok(false);
        }
        let start = Instant::now();
        let norm = self.norms[1].kernel();
        let (gradient, to) = (&branch.view()?, &mut residual.view_mut()?);
        norm.backward(isa, &saved.middle.view()?, &saved.statistics[1], gradient, to)?;
        linear.profile.norms.add(start, 0);
        let from = Input { values: &saved.attended, indices: kept };
        let (gradient, narrow) = (&residual.view()?, &saved.narrow[2]);
        if !self.c_proj.backward(gradient, from, narrow, gradients, branch, linear)? {
            return Ok(false);
        }
        self.attention_backward(sequences, saved, work)?;
        if !self.qkv_backward(sequences, saved, gradients, work)? {
            return Ok(false);
        }
        if self.query.is_some() {
            work.residual.zeros(saved.input.rows(), self.width())?;
            scatter_add(residual, &sequences.last, &mut work.residual)?;
            std::mem::swap(residual, &mut work.residual);
        }
        let start = Instant::now();
        let norm = self.norms[0].kernel();
        let (gradient, to) = (&work.narrow.view()?, &mut residual.view_mut()?);
        norm.backward(isa, &saved.input.view()?, &saved.statistics[0], gradient, to)?;
        work.linear.profile.norms.add(start, 0);
        Ok(true)
    }

    /// Gradient of queries, keys and values in `work.qkv`, given the gradient of `saved.attended`
    /// in `work.branch`.
    fn attention_backward(
        &self,
        sequences: &Sequences,
        saved: &Activations,
        work: &mut BlockWork,
    ) -> Result<(), Error> {
        let timer = Instant::now();
        work.qkv.reshape(saved.input.rows(), 3 * self.width())?;
        let mut gradient: MatrixMut<'_> = work.qkv.view_mut()?;
        let mut pairs = 0;
        for span in self.spans(sequences) {
            pairs += span.pairs();
            let (queries, count) = (span.kept.start, span.kept.len());
            self.attention.backward(
                self.isa,
                &saved.qkv.view_rows(span.tokens.start, span.tokens.len())?,
                &saved.attended.view_rows(queries, count)?,
                &saved.log_sums[span.log_sums],
                &work.branch.view_rows(queries, count)?,
                &mut gradient.rows(span.tokens)?,
                &mut work.linear.scratch,
            )?;
        }
        // The scores again, and the gradients of weights, values, queries and keys.
        work.linear.profile.attention.add(timer, 10 * pairs * self.width());
        Ok(())
    }

    /// Gradient of the first norm's output in `work.narrow`, given the gradient of queries, keys
    /// and values in `work.qkv`. Returns false where it is not needed.
    fn qkv_backward(
        &self,
        sequences: &Sequences,
        saved: &Activations,
        gradients: &mut [f32],
        work: &mut BlockWork,
    ) -> Result<bool, Error> {
        let (isa, width) = (self.isa, self.width());
        let BlockWork { linear, branch, qkv, narrow, residual, normal, last_normal, .. } = work;
        normalize(
            isa,
            &self.norms[0],
            &saved.input,
            normal,
            &mut work.statistics,
            &mut linear.profile,
        )?;
        let from = Input { values: normal, indices: &sequences.tokens };
        let gradient = qkv.view()?.columns(self.first_column()..3 * width)?;
        let saved_narrow = &saved.narrow[1];
        let continues =
            self.c_attn.backward(&gradient, from, saved_narrow, gradients, narrow, linear)?;
        let Some(query) = &self.query else { return Ok(continues) };
        branch.reshape(sequences.rows.len(), width)?;
        for (row, &token) in sequences.last.iter().enumerate() {
            branch.row_mut(row).copy_from_slice(&qkv.row(token)[..width]);
        }
        gather(normal, &sequences.last, last_normal)?;
        let from = Input { values: last_normal, indices: &sequences.rows };
        let (gradient, saved_narrow) = (&branch.view()?, &saved.narrow[0]);
        let continues =
            query.backward(gradient, from, saved_narrow, gradients, residual, linear)?;
        if continues {
            scatter_add(residual, &sequences.last, narrow)?;
        }
        Ok(continues)
    }

    /// First column of queries, keys and values that `c_attn` computes.
    fn first_column(&self) -> usize {
        if self.query.is_some() { self.width() } else { 0 }
    }

    /// Indices in the batch of the rows behind attention.
    fn kept<'a>(&self, sequences: &'a Sequences) -> &'a [usize] {
        if self.query.is_some() { &sequences.rows } else { &sequences.tokens }
    }

    /// Places of each sequence in the buffers of attention.
    fn spans<'a>(&'a self, sequences: &'a Sequences) -> impl Iterator<Item = Span> + 'a {
        sequences.ranges().enumerate().map(|(row, tokens)| {
            let kept = if self.query.is_some() { row..row + 1 } else { tokens.clone() };
            let heads = self.attention.heads;
            Span { log_sums: heads * kept.start..heads * kept.end, tokens, kept }
        })
    }
}

/// Places of a sequence in the buffers of attention.
struct Span {
    /// Keys and values.
    tokens: Range<usize>,
    /// Queries and outputs: all tokens or, in the last block, the last.
    kept: Range<usize>,
    log_sums: Range<usize>,
}

impl Span {
    /// Pairs of a query and a key that it sees.
    fn pairs(&self) -> usize {
        let (keys, queries) = (self.tokens.len(), self.kept.len());
        queries * (2 * keys - queries + 1) / 2
    }
}

/// Copies rows of `from` to `to`.
fn gather(from: &Buffer, rows: &[usize], to: &mut Buffer) -> Result<(), Error> {
    to.reshape(rows.len(), from.columns())?;
    for (row, &source) in rows.iter().enumerate() {
        to.row_mut(row).copy_from_slice(from.row(source));
    }
    Ok(())
}

/// Adds the rows of `from` to rows of `to`.
fn scatter_add(from: &Buffer, rows: &[usize], to: &mut Buffer) -> Result<(), Error> {
    for (row, &target) in rows.iter().enumerate() {
        add(from.row(row), to.row_mut(target))?;
    }
    Ok(())
}
