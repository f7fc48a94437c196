//! Transformer block: forward pass and gradients of the sequences of one thread.

use std::time::Instant;

use kernels::{Gelu, Isa, LayerNorm, Statistics, add, resize};

use super::{
    attention::{Attended, AttentionPass, AttentionWork, Span},
    buffer::Buffer,
    distribution::{Places, Sequences},
    linear::{Input, LinearPass, LinearWork},
    profile::KernelProfile,
    tree::Gradients,
};
use crate::error::Result;

/// Operations of GELU or its gradient for an element.
const GELU_COST: usize = 32;

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
    pub attention: AttentionPass,
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
    attended: Attended,
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
    heads: AttentionWork,
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

/// Applies a norm and adds its time to the profile.
fn normalize(
    isa: Isa,
    norm: &NormPass,
    input: &Buffer,
    normal: &mut Buffer,
    statistics: &mut Vec<Statistics>,
    profile: &mut KernelProfile,
) -> Result<()> {
    let start = Instant::now();
    norm.apply(isa, input, normal, statistics)?;
    profile.norms.add(start, 0);
    Ok(())
}

impl NormPass {
    fn kernel(&self) -> LayerNorm<'_> {
        LayerNorm { gamma: &self.gamma, beta: &self.beta, epsilon: self.epsilon }
    }

    /// Resizes `normal` and `statistics`, and computes them.
    pub fn apply(
        &self,
        isa: Isa,
        input: &Buffer,
        normal: &mut Buffer,
        statistics: &mut Vec<Statistics>,
    ) -> Result<()> {
        normal.reshape(input.rows(), self.gamma.len())?;
        resize(statistics, input.rows(), Statistics::default())?;
        Ok(self.kernel().forward(isa, &input.view()?, &mut normal.view_mut()?, statistics)?)
    }
}

impl BlockPass<'_> {
    fn width(&self) -> usize {
        self.attention.width()
    }

    /// Computes `output` `[kept, dim]` of `saved.input`.
    pub fn forward(
        &self,
        sequences: &Sequences,
        saved: &mut Activations,
        output: &mut Buffer,
        work: &mut BlockWork,
    ) -> Result<()> {
        let (isa, width) = (self.isa, self.width());
        self.attend(sequences, saved, work)?;
        let Activations { input, statistics, attended, middle, hidden, narrow, .. } = saved;
        let BlockWork { linear, branch, normal, activated, .. } = work;
        let kept = self.kept(sequences);
        branch.reshape(kept.indices.len(), width)?;
        let from = Input { values: &attended.output, places: kept };
        self.c_proj.forward(from, &mut narrow[2], &mut branch.view_mut()?, linear)?;
        match self.query {
            None => {
                middle.reshape(kept.indices.len(), width)?;
                middle.values_mut().copy_from_slice(input.values());
            }
            Some(_) => gather(input, &sequences.last, middle)?,
        }
        add(branch.values(), middle.values_mut())?;

        normalize(isa, &self.norms[1], middle, normal, &mut statistics[1], &mut linear.profile)?;
        hidden.reshape(kept.indices.len(), self.c_fc.bias.len())?;
        let from = Input { values: normal, places: kept };
        self.c_fc.forward(from, &mut narrow[3], &mut hidden.view_mut()?, linear)?;
        self.activate(hidden, activated, linear)?;
        output.reshape(kept.indices.len(), width)?;
        let from = Input { values: activated, places: kept };
        self.mlp_c_proj.forward(from, &mut narrow[4], &mut output.view_mut()?, linear)?;
        Ok(add(middle.values(), output.values_mut())?)
    }

    /// Computes `activated`, the output of GELU.
    fn activate(
        &self,
        hidden: &Buffer,
        activated: &mut Buffer,
        LinearWork { team, profile, .. }: &mut LinearWork,
    ) -> Result<()> {
        let start = Instant::now();
        activated.reshape(hidden.rows(), hidden.columns())?;
        team.elements(GELU_COST, hidden.values(), activated.values_mut(), |input, output| {
            self.gelu.forward(self.isa, input, output)
        })?;
        profile.norms.add(start, 0);
        Ok(())
    }

    /// Computes `saved.attended` `[kept, dim]`.
    fn attend(
        &self,
        sequences: &Sequences,
        saved: &mut Activations,
        work: &mut BlockWork,
    ) -> Result<()> {
        let (isa, width) = (self.isa, self.width());
        let Activations { input, statistics, attended, narrow, .. } = saved;
        let qkv = &mut attended.qkv;
        let BlockWork { linear, heads, branch, normal, last_normal, .. } = work;
        normalize(isa, &self.norms[0], input, normal, &mut statistics[0], &mut linear.profile)?;
        qkv.reshape(input.rows(), 3 * width)?;
        let from = Input { values: normal, places: &sequences.tokens };
        let keys = self.first_column();
        let to = &mut qkv.view_mut()?;
        let to = &mut to.columns(keys..3 * width)?;
        self.c_attn.forward(from, &mut narrow[1], to, linear)?;
        if let Some(query) = &self.query {
            gather(normal, &sequences.last, last_normal)?;
            let from = Input { values: last_normal, places: &sequences.rows };
            branch.reshape(sequences.rows.indices.len(), width)?;
            query.forward(from, &mut narrow[0], &mut branch.view_mut()?, linear)?;
            for (row, &token) in sequences.last.iter().enumerate() {
                qkv.row_mut(token)[..width].copy_from_slice(branch.row(row));
            }
        }
        let timer = Instant::now();
        let kept = self.kept(sequences).indices.len();
        self.attention.reshape(attended, kept)?;
        let mut pairs = 0;
        for span in self.spans(sequences) {
            pairs += span.pairs();
            self.attention.forward(&span, attended, heads, &mut linear.team)?;
        }
        // Products of queries and keys, and of weights and values.
        linear.profile.attention.add(timer, 4 * pairs * width);
        Ok(())
    }

    /// Sets the gradients of the terms in `gradients`, and turns `residual`, the gradient of the
    /// output `[kept, dim]`, into the gradient of the input `[tokens, dim]`. Returns false where
    /// nothing before the block is trained; `residual` is arbitrary then.
    pub fn backward(
        &self,
        sequences: &Sequences,
        saved: &Activations,
        residual: &mut Buffer,
        gradients: &mut Gradients,
        work: &mut BlockWork,
    ) -> Result<bool> {
        let isa = self.isa;
        let kept = self.kept(sequences);
        let BlockWork { linear, branch, wide, normal, activated, statistics, .. } = work;
        self.activate(&saved.hidden, activated, linear)?;
        let from = Input { values: activated, places: kept };
        let (gradient, narrow) = (&residual.view()?, &saved.narrow[4]);
        if !self.mlp_c_proj.backward(gradient, from, narrow, gradients, wide, linear)? {
            return Ok(false);
        }
        let start = Instant::now();
        linear.team.elements(
            GELU_COST,
            saved.hidden.values(),
            wide.values_mut(),
            |input, gradient| self.gelu.backward(isa, input, gradient),
        )?;
        linear.profile.norms.add(start, 0);
        normalize(isa, &self.norms[1], &saved.middle, normal, statistics, &mut linear.profile)?;
        let from = Input { values: normal, places: kept };
        let (gradient, narrow) = (&wide.view()?, &saved.narrow[3]);
        if !self.c_fc.backward(gradient, from, narrow, gradients, branch, linear)? {
            return Ok(false);
        }
        let start = Instant::now();
        let norm = self.norms[1].kernel();
        let (gradient, to) = (&branch.view()?, &mut residual.view_mut()?);
        norm.backward(isa, &saved.middle.view()?, &saved.statistics[1], gradient, to)?;
        linear.profile.norms.add(start, 0);
        let from = Input { values: &saved.attended.output, places: kept };
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
    ) -> Result<()> {
        let timer = Instant::now();
        work.qkv.reshape(saved.input.rows(), 3 * self.width())?;
        let BlockWork { linear, heads, branch, qkv, .. } = work;
        let mut pairs = 0;
        for span in self.spans(sequences) {
            pairs += span.pairs();
            let team = &mut linear.team;
            self.attention.backward(&span, &saved.attended, branch, qkv, heads, team)?;
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
        gradients: &mut Gradients,
        work: &mut BlockWork,
    ) -> Result<bool> {
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
        let from = Input { values: normal, places: &sequences.tokens };
        let gradient = qkv.view()?.columns(self.first_column()..3 * width)?;
        let saved_narrow = &saved.narrow[1];
        let continues =
            self.c_attn.backward(&gradient, from, saved_narrow, gradients, narrow, linear)?;
        let Some(query) = &self.query else { return Ok(continues) };
        branch.reshape(sequences.rows.indices.len(), width)?;
        for (row, &token) in sequences.last.iter().enumerate() {
            branch.row_mut(row).copy_from_slice(&qkv.row(token)[..width]);
        }
        gather(normal, &sequences.last, last_normal)?;
        let from = Input { values: last_normal, places: &sequences.rows };
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

    /// Places of the rows behind attention.
    pub fn kept<'a>(&self, sequences: &'a Sequences) -> &'a Places {
        if self.query.is_some() { &sequences.rows } else { &sequences.tokens }
    }

    /// Places of each sequence in the buffers of attention.
    fn spans<'a>(&'a self, sequences: &'a Sequences) -> impl Iterator<Item = Span> + 'a {
        sequences.ranges().enumerate().map(|(row, tokens)| {
            let kept = if self.query.is_some() { row..row + 1 } else { tokens.clone() };
            let heads = self.attention.attention.heads;
            Span { log_sums: heads * kept.start..heads * kept.end, tokens, kept }
        })
    }
}

/// Copies rows of `from` to `to`.
fn gather(from: &Buffer, rows: &[usize], to: &mut Buffer) -> Result<()> {
    to.reshape(rows.len(), from.columns())?;
    for (row, &source) in rows.iter().enumerate() {
        to.row_mut(row).copy_from_slice(from.row(source));
    }
    Ok(())
}

/// Adds the rows of `from` to rows of `to`.
fn scatter_add(from: &Buffer, rows: &[usize], to: &mut Buffer) -> Result<()> {
    for (row, &target) in rows.iter().enumerate() {
        add(from.row(row), to.row_mut(target))?;
    }
    Ok(())
}
