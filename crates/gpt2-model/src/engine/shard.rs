//! Distribution of the sequences of a batch, and the memory of a thread.

use std::{ops::Range, time::Instant};

use kernels::{Error, resize};

use super::{
    block::{Activations, BlockPass, BlockWork},
    buffer::Buffer,
    profile::KernelProfile,
};

/// Sequences that one thread computes.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequences {
    lengths: Vec<usize>,
    /// Index in the batch of each token.
    pub tokens: Vec<usize>,
    /// Index in the batch of each sequence.
    pub rows: Vec<usize>,
    /// Index in the shard of the last token of each sequence.
    pub last: Vec<usize>,
}

impl Sequences {
    /// Places of the sequences among the tokens of the shard.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.lengths.iter().zip(&self.last).map(|(length, last)| last + 1 - length..last + 1)
    }

    fn push(&mut self, row: usize, first_token: usize, length: usize) {
        self.rows.push(row);
        self.lengths.push(length);
        self.tokens.extend(first_token..first_token + length);
        self.last.push(self.tokens.len() - 1);
    }
}

/// Most that the slowest shard may take, relative to the mean, for a batch to be distributed.
const MAX_IMBALANCE: f64 = 1.3;

/// Distributes sequences over shards, longest first, each to the shard with the least work.
/// Returns `None` for a batch that cannot be divided evenly enough, such as one long sequence.
pub(super) fn distribute(lengths: &[usize], shards: usize, width: usize) -> Option<Vec<Sequences>> {
    // Operations per token: 24 width² of products, 2 width of attention for each token before.
    let cost = |length: usize| length * (12 * width + length);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(lengths[row]));
    let mut dealt = vec![(0, Vec::new()); shards];
    for row in order {
        let least = (0..shards).min_by_key(|&shard| dealt[shard].0)?;
        let (load, rows) = &mut dealt[least];
        *load += cost(lengths[row]);
        rows.push(row);
    }
    let loads = dealt.iter().map(|(load, _)| *load);
    let (most, total) = (loads.clone().max()?, loads.sum::<usize>());
    if (most * shards) as f64 > MAX_IMBALANCE * total as f64 {
        return None;
    }
    let starts: Vec<usize> = lengths
        .iter()
        .scan(0, |end, length| {
            *end += length;
            Some(*end - length)
        })
        .collect();
    let filled = dealt.into_iter().filter(|(_, rows)| !rows.is_empty());
    let sequences = filled.map(|(_, mut rows)| {
        rows.sort_unstable();
        let mut sequences = Sequences::default();
        rows.into_iter().for_each(|row| sequences.push(row, starts[row], lengths[row]));
        sequences
    });
    Some(sequences.collect())
}

/// Memory of a thread, kept from pass to pass.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub sequences: Sequences,
    /// Activations of every block, or of the current one where no gradients follow.
    blocks: Vec<Activations>,
    /// Output of the last block `[rows, dim]`, then gradients of the residual stream.
    pub stream: Buffer,
    /// Gradients of the terms.
    pub gradients: Vec<f32>,
    work: BlockWork,
}

impl Shard {
    pub fn profile_mut(&mut self) -> &mut KernelProfile {
        &mut self.work.linear.profile
    }

    /// Does work, and adds its time to the profile.
    pub fn timed(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<f64, Error> {
        let start = Instant::now();
        work(self)?;
        let total = &mut self.profile_mut().total;
        let before = total.seconds;
        total.add(start, 0);
        Ok(total.seconds - before)
    }

    /// Computes `stream`, the outputs of the last block, from `embedded` `[tokens, dim]` of the
    /// whole batch.
    pub fn forward(
        &mut self,
        blocks: &[BlockPass<'_>],
        embedded: &[f32],
        width: usize,
        keeps_activations: bool,
    ) -> Result<(), Error> {
        self.stream.reshape(self.sequences.tokens.len(), width)?;
        for (row, &token) in self.sequences.tokens.iter().enumerate() {
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

    /// Computes `gradients`, of `count` numbers, given `gradient` `[rows, dim]` of the outputs of
    /// the whole batch, after [`Shard::forward`] that has kept activations.
    pub fn backward(
        &mut self,
        blocks: &[BlockPass<'_>],
        gradient: &[f32],
        width: usize,
        count: usize,
    ) -> Result<(), Error> {
        self.gradients.clear();
        resize(&mut self.gradients, count, 0.0)?;
        self.stream.reshape(self.sequences.rows.len(), width)?;
        for (row, &index) in self.sequences.rows.iter().enumerate() {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn longest_sequences_are_distributed_first() {
        let shards = distribute(&[3, 9, 5, 1], 2, 64).unwrap();
        assert_eq!(shards[0].rows, [1]);
        assert_eq!(shards[1].rows, [0, 2, 3]);
        assert_eq!(shards[1].tokens, [0, 1, 2, 12, 13, 14, 15, 16, 17]);
        assert_eq!(shards[1].last, [2, 7, 8]);
        assert_eq!(shards[1].ranges().collect::<Vec<_>>(), [0..3, 3..8, 8..9]);
    }

    #[test]
    fn one_long_sequence_is_not_distributed() {
        assert!(distribute(&[300, 2, 3], 2, 64).is_none());
        assert!(distribute(&[300, 2, 3], 1, 64).is_some());
        assert!(distribute(&[7], 2, 64).is_none());
    }
}
