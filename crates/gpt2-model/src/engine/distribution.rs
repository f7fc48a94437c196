//! Distribution of the sequences of a batch.

use std::ops::Range;

use super::{
    team::divide,
    tree::{LEAVES, LeafRows},
};

/// Sequences of a shard, which one thread or team computes.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequences {
    lengths: Vec<usize>,
    /// Leaves of the tree of gradients.
    pub leaves: Range<usize>,
    /// Tokens, by their index in the batch.
    pub tokens: Places,
    /// Sequences, by their index in the batch.
    pub rows: Places,
    /// Index in the shard of the last token of each sequence.
    pub last: Vec<usize>,
}

/// Tokens or sequences of a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Index in the batch of each.
    pub indices: Vec<usize>,
    /// Range of each leaf among them.
    pub leaves: LeafRows,
}

impl Places {
    /// Ends a leaf, which has the indices behind the leaf before it.
    fn end_leaf(&mut self, leaf: usize) {
        let start = self.leaves.last().map_or(0, |(_, rows)| rows.end);
        self.leaves.push((leaf, start..self.indices.len()));
    }
}

impl Sequences {
    /// Sequences of some leaves of a tree, given the tokens of each sequence.
    fn of(leaves: Range<usize>, tree: &[Vec<usize>], tokens_of: &[Range<usize>]) -> Self {
        let mut sequences = Self { leaves: leaves.clone(), ..Self::default() };
        let Self { tokens, rows, last, .. } = &mut sequences;
        for leaf in leaves.filter(|&leaf| !tree[leaf].is_empty()) {
            for &row in &tree[leaf] {
                tokens.indices.extend(tokens_of[row].clone());
                rows.indices.push(row);
                last.push(tokens.indices.len() - 1);
            }
            tokens.end_leaf(leaf);
            rows.end_leaf(leaf);
        }
        sequences.lengths = rows.indices.iter().map(|&row| tokens_of[row].len()).collect();
        sequences
    }

    /// Places of the sequences among the tokens of the shard.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.lengths.iter().zip(&self.last).map(|(length, last)| last + 1 - length..last + 1)
    }
}

/// Most that the slowest shard may take, relative to the mean.
const MAX_IMBALANCE: f64 = 1.3;

/// Tokens of a leaf that is not divided: products with the gradients of fewer tokens take as long
/// as adding their results.
const LEAF_TOKENS: usize = 64;

/// Distributes the sequences of a batch over as many shards as can get about the same work, and
/// returns the shards and the number of threads of each.
///
/// The sequences are first distributed over the leaves of a tree, which does not depend on the number
/// of threads, and shards get neighboring leaves.
pub(super) fn distribute(
    lengths: &[usize],
    threads: usize,
    width: usize,
) -> (Vec<Sequences>, usize) {
    // Operations per token: 24 width² of products, 2 width of attention for each token before.
    let cost = |&row: &usize| lengths[row] * (12 * width + lengths[row]);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(lengths[row]));
    let mut tree = vec![Vec::new(); LEAVES];
    grow(&mut tree, order, lengths, &cost);
    let loads: Vec<usize> = tree.iter().map(|rows| rows.iter().map(cost).sum()).collect();
    let total: usize = loads.iter().sum();
    let is_balanced = |shards: &usize| {
        let loads = divide(LEAVES, *shards).map(|leaves| loads[leaves].iter().sum::<usize>());
        let most = loads.max().unwrap_or(0);
        (most * shards) as f64 <= MAX_IMBALANCE * total as f64
    };
    let divides = |shards: &usize| threads.is_multiple_of(*shards);
    let count = (1..=threads).rev().filter(divides).find(is_balanced).unwrap_or(1);
    let tokens_of = lengths.iter().scan(0, |end, length| {
        *end += length;
        Some(*end - length..*end)
    });
    let tokens_of: Vec<Range<usize>> = tokens_of.collect();
    let shards = divide(LEAVES, count).map(|leaves| Sequences::of(leaves, &tree, &tokens_of));
    (shards.collect(), threads / count)
}

/// Distributes sequences, longest first, over the leaves of a tree: each to the half that has less
/// work, and again in each half.
fn grow(
    leaves: &mut [Vec<usize>],
    order: Vec<usize>,
    lengths: &[usize],
    cost: &impl Fn(&usize) -> usize,
) {
    let tokens: usize = order.iter().map(|&row| lengths[row]).sum();
    if leaves.len() == 1 || order.len() < 2 || tokens <= LEAF_TOKENS {
        leaves[0] = order;
        leaves[0].sort_unstable();
        return;
    }
    let mut halves = [(0, Vec::new()), (0, Vec::new())];
    for row in order {
        let lighter = usize::from(halves[1].0 < halves[0].0);
        halves[lighter].0 += cost(&row);
        halves[lighter].1.push(row);
    }
    let (left, right) = leaves.split_at_mut(leaves.len() / 2);
    let [(_, first), (_, second)] = halves;
    grow(left, first, lengths, cost);
    grow(right, second, lengths, cost);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Sequences of each shard, and the threads of each.
    fn shards(lengths: &[usize], threads: usize) -> (Vec<Vec<usize>>, usize) {
        let (shards, team) = distribute(lengths, threads, 64);
        (shards.into_iter().map(|shard| shard.rows.indices).collect(), team)
    }

    #[test]
    fn longest_sequences_are_distributed_first() {
        let (shards, team) = distribute(&[30, 90, 50, 10], 2, 64);
        assert_eq!(team, 1);
        assert_eq!(shards[0].rows.indices, [1]);
        assert_eq!(shards[0].tokens.leaves, [(0, 0..90)]);
        assert_eq!(shards[1].rows.indices, [2, 0, 3]);
        assert_eq!(shards[1].rows.leaves, [(8, 0..1), (12, 1..3)]);
        assert_eq!(shards[1].tokens.indices[48..52], [168, 169, 0, 1]);
        assert_eq!(shards[1].last, [49, 79, 89]);
        assert_eq!(shards[1].ranges().collect::<Vec<_>>(), [0..50, 50..80, 80..90]);
    }

    #[test]
    fn threads_share_what_cannot_be_distributed() {
        assert_eq!(shards(&[300, 2, 3], 2), (vec![vec![0, 1, 2]], 2));
        assert_eq!(shards(&[300], 3), (vec![vec![0]], 3));
        assert_eq!(shards(&[300, 2, 290], 4), (vec![vec![0], vec![2, 1]], 2));
        assert_eq!(shards(&[2, 3, 4], 2), (vec![vec![0, 1, 2]], 2));
    }

    #[test]
    fn leaves_do_not_depend_on_the_threads() {
        let lengths: Vec<usize> = (0..40).map(|row| 1 + row * row % 37).collect();
        let leaves = |threads| -> Vec<(usize, usize)> {
            let (shards, _) = distribute(&lengths, threads, 64);
            let leaves = shards.into_iter().flat_map(|shard| shard.tokens.leaves);
            leaves.map(|(leaf, tokens)| (leaf, tokens.len())).collect()
        };
        let expected = leaves(1);
        assert!(expected.len() > 4, "{expected:?}");
        for threads in 2..40 {
            assert_eq!(leaves(threads), expected, "{threads}");
        }
    }
}
