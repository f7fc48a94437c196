//! Causal attention of a sequence by a team, head by head.

use std::ops::Range;

use kernels::{Attention, Isa, resize};

use super::{
    buffer::Buffer,
    team::{Team, divide, on_threads},
};
use crate::error::Result;

/// Causal attention in a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttentionPass {
    pub isa: Isa,
    pub attention: Attention,
}

/// Places of a sequence in the buffers of attention.
pub(super) struct Span {
    /// Keys and values.
    pub tokens: Range<usize>,
    /// Queries and outputs: all tokens or, in the last block, the last.
    pub kept: Range<usize>,
    pub log_sums: Range<usize>,
}

impl Span {
    /// Pairs of a query and a key that it sees.
    pub fn pairs(&self) -> usize {
        let (keys, queries) = (self.tokens.len(), self.kept.len());
        queries * (2 * keys - queries + 1) / 2
    }
}

/// Values of attention that its gradient needs.
#[derive(Debug, Default)]
pub(super) struct Attended {
    /// Queries, keys and values, `[tokens, 3 dim]`.
    pub qkv: Buffer,
    /// `[heads · kept]`
    log_sums: Vec<f32>,
    /// `[kept, dim]`
    pub output: Buffer,
}

/// Memory of threads that share a sequence, each with some heads. Their columns are copied, because
/// threads cannot write columns of one buffer.
#[derive(Debug, Default)]
pub(super) struct AttentionWork(Vec<Heads>);

/// Columns of some heads.
#[derive(Debug, Default)]
struct Heads {
    qkv: Buffer,
    qkv_gradient: Buffer,
    output: Buffer,
    gradient: Buffer,
}

impl AttentionWork {
    /// Memory of `threads`, kept from sequence to sequence.
    fn of(&mut self, threads: usize) -> &mut [Heads] {
        self.0.resize_with(threads.max(self.0.len()), Heads::default);
        &mut self.0[..threads]
    }
}

impl AttentionPass {
    /// Features of all heads.
    pub fn width(&self) -> usize {
        self.attention.heads * self.attention.head_size
    }

    /// Sets the shape of what attention computes for `kept` queries.
    pub fn reshape(&self, saved: &mut Attended, kept: usize) -> Result<()> {
        saved.output.reshape(kept, self.width())?;
        Ok(resize(&mut saved.log_sums, self.attention.heads * kept, 0.0)?)
    }

    /// Computes the output of a sequence.
    pub fn forward(
        &self,
        span: &Span,
        saved: &mut Attended,
        work: &mut AttentionWork,
        team: &mut Team,
    ) -> Result<()> {
        let Self { isa, attention } = *self;
        let Span { tokens, kept, .. } = span;
        let Attended { qkv, log_sums, output } = saved;
        let mut log_sums = &mut log_sums[span.log_sums.clone()];
        let members = team.members(attention.heads, 4 * span.pairs() * self.width());
        if let [scratch] = members {
            let qkv = &qkv.view_rows(tokens.start, tokens.len())?;
            let mut output = output.view_mut()?;
            let output = &mut output.rows(kept.clone())?;
            return Ok(attention.forward(isa, qkv, output, log_sums, scratch)?);
        }
        let count = members.len();
        let work = work.of(count);
        let mut pieces = Vec::with_capacity(count);
        for ((range, heads), scratch) in divide(attention.heads, count).zip(&mut *work).zip(members)
        {
            let (first, rest) = log_sums.split_at_mut(range.len() * kept.len());
            log_sums = rest;
            pieces.push((range, heads, first, scratch));
        }
        on_threads(pieces, |(range, heads, log_sums, scratch)| {
            let attention = Attention { heads: range.len(), ..attention };
            self.gather(qkv, tokens, &range, 3, &mut heads.qkv)?;
            heads.output.reshape(kept.len(), range.len() * attention.head_size)?;
            let (qkv, output) = (&heads.qkv.view()?, &mut heads.output.view_mut()?);
            Ok(attention.forward(isa, qkv, output, log_sums, scratch)?)
        })?;
        for (range, heads) in divide(attention.heads, count).zip(work) {
            self.scatter(&heads.output, kept, &range, 1, output);
        }
        Ok(())
    }

    /// Computes the gradient of queries, keys and values of a sequence, given the gradient of the
    /// output.
    pub fn backward(
        &self,
        span: &Span,
        saved: &Attended,
        gradient: &Buffer,
        qkv_gradient: &mut Buffer,
        work: &mut AttentionWork,
        team: &mut Team,
    ) -> Result<()> {
        let Self { isa, attention } = *self;
        let Span { tokens, kept, .. } = span;
        let Attended { qkv, log_sums, output } = saved;
        let log_sums = &log_sums[span.log_sums.clone()];
        let members = team.members(attention.heads, 10 * span.pairs() * self.width());
        if let [scratch] = members {
            let qkv = &qkv.view_rows(tokens.start, tokens.len())?;
            let output = &output.view_rows(kept.start, kept.len())?;
            let gradient = &gradient.view_rows(kept.start, kept.len())?;
            let mut to = qkv_gradient.view_mut()?;
            let to = &mut to.rows(tokens.clone())?;
            return Ok(attention.backward(isa, qkv, output, log_sums, gradient, to, scratch)?);
        }
        let count = members.len();
        let work = work.of(count);
        let pieces = divide(attention.heads, count).zip(&mut *work).zip(members);
        on_threads(pieces, |((range, heads), scratch)| {
            let attention = Attention { heads: range.len(), ..attention };
            self.gather(qkv, tokens, &range, 3, &mut heads.qkv)?;
            self.gather(output, kept, &range, 1, &mut heads.output)?;
            self.gather(gradient, kept, &range, 1, &mut heads.gradient)?;
            heads.qkv_gradient.reshape(tokens.len(), 3 * range.len() * attention.head_size)?;
            let log_sums = &log_sums[range.start * kept.len()..range.end * kept.len()];
            let (qkv, output) = (&heads.qkv.view()?, &heads.output.view()?);
            let (gradient, to) = (&heads.gradient.view()?, &mut heads.qkv_gradient.view_mut()?);
            Ok(attention.backward(isa, qkv, output, log_sums, gradient, to, scratch)?)
        })?;
        for (range, heads) in divide(attention.heads, count).zip(work) {
            self.scatter(&heads.qkv_gradient, tokens, &range, 3, qkv_gradient);
        }
        Ok(())
    }

    /// Columns of some heads in each of the slices of a row.
    fn columns(&self, heads: &Range<usize>, slices: usize) -> impl Iterator<Item = Range<usize>> {
        let (size, width, heads) = (self.attention.head_size, self.width(), heads.clone());
        (0..slices)
            .map(move |slice| slice * width + heads.start * size..slice * width + heads.end * size)
    }

    /// Copies the columns of some heads in `rows` of a buffer.
    fn gather(
        &self,
        from: &Buffer,
        rows: &Range<usize>,
        heads: &Range<usize>,
        slices: usize,
        to: &mut Buffer,
    ) -> Result<()> {
        let count = heads.len() * self.attention.head_size;
        to.reshape(rows.len(), slices * count)?;
        for (row, source) in rows.clone().enumerate() {
            let to = to.row_mut(row).chunks_mut(count);
            for (to, columns) in to.zip(self.columns(heads, slices)) {
                to.copy_from_slice(&from.row(source)[columns]);
            }
        }
        Ok(())
    }

    /// Copies the columns of some heads back to `rows` of a buffer.
    fn scatter(
        &self,
        from: &Buffer,
        rows: &Range<usize>,
        heads: &Range<usize>,
        slices: usize,
        to: &mut Buffer,
    ) {
        let count = heads.len() * self.attention.head_size;
        for (row, target) in rows.clone().enumerate() {
            let from = from.row(row).chunks(count);
            for (from, columns) in from.zip(self.columns(heads, slices)) {
                to.row_mut(target)[columns].copy_from_slice(from);
            }
        }
    }
}
