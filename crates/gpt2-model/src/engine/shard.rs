//! Memory and passes of a shard.

use std::time::Instant;

use super::{
    block::{Activations, BlockPass, BlockWork},
    buffer::Buffer,
    distribution::Sequences,
    profile::KernelProfile,
    tree::Gradients,
};
use crate::error::Result;

/// Memory of a shard, kept from pass to pass.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub sequences: Sequences,
    /// Activations of every block, or of the current one where no gradients follow.
    blocks: Vec<Activations>,
    /// Output of the last block, `[rows, dim]` or `[tokens, dim]`, then gradients of the residual stream.
    pub stream: Buffer,
    /// Gradients of the terms.
    pub gradients: Gradients,
    work: BlockWork,
    profile: KernelProfile,
}

impl Shard {
    pub fn profile_mut(&mut self) -> &mut KernelProfile {
        &mut self.profile
    }

    /// Returns the rows or tokens that the last block keeps, by their index in the batch.
    pub fn outputs(&self, blocks: &[BlockPass<'_>]) -> &[usize] {
        blocks.last().map_or(&[], |block| &block.kept(&self.sequences).indices)
    }

    /// Does work with a number of threads, adds its time to the profile, and returns it.
    pub fn timed(
        &mut self,
        threads: usize,
        work: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<f64> {
        let start = Instant::now();
        self.work.linear.team.resize(threads);
        work(self)?;
        let mut profile = std::mem::take(&mut self.work.linear.profile);
        profile.total.add(start, 0);
        let seconds = profile.total.seconds;
        self.profile += profile.of_threads(threads);
        Ok(seconds)
    }

    /// Computes `stream`, the outputs of the last block, from `embedded` `[tokens, dim]` of the
    /// whole batch.
    pub fn forward(
        &mut self,
        blocks: &[BlockPass<'_>],
        embedded: &[f32],
        width: usize,
        keeps_activations: bool,
    ) -> Result<()> {
        self.stream.reshape(self.sequences.tokens.indices.len(), width)?;
        for (row, &token) in self.sequences.tokens.indices.iter().enumerate() {
            self.stream.row_mut(row).copy_from_slice(&embedded[token * width..][..width]);
        }
        let kept = if keeps_activations { blocks.len() } else { 1 };
        self.blocks.resize_with(kept.max(self.blocks.len()), Activations::default);
        for (number, block) in blocks.iter().enumerate() {
            let saved = &mut self.blocks[if keeps_activations { number } else { 0 }];
            std::mem::swap(&mut saved.input, &mut self.stream);
            block.forward(&self.sequences, saved, &mut self.stream, &mut self.work)?;
        }
        Ok(())
    }

    /// Computes `gradients`, of `count` numbers, given the `gradient` of the outputs of the whole
    /// batch, after [`Shard::forward`] that has kept activations.
    pub fn backward(
        &mut self,
        blocks: &[BlockPass<'_>],
        gradient: &[f32],
        width: usize,
        count: usize,
    ) -> Result<()> {
        let Sequences { leaves, rows, .. } = &self.sequences;
        self.gradients.reset(leaves.clone(), &rows.leaves, count)?;
        let Some(last) = blocks.last() else { return Ok(()) };
        let outputs = &last.kept(&self.sequences).indices;
        self.stream.reshape(outputs.len(), width)?;
        for (row, &index) in outputs.iter().enumerate() {
            self.stream.row_mut(row).copy_from_slice(&gradient[index * width..][..width]);
        }
        for (block, saved) in blocks.iter().zip(&self.blocks).rev() {
            let Self { sequences, stream, gradients, work, .. } = self;
            if !block.backward(sequences, saved, stream, gradients, work)? {
                break;
            }
        }
        Ok(())
    }
}
