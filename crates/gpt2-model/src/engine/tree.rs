//! Sums of gradients in a fixed order.

use std::{borrow::BorrowMut, ops::Range};

use kernels::{add, resize};

use crate::error::Result;

/// Leaves of the tree in which gradients are added. A leaf has some sequences of a batch, or none.
pub(super) const LEAVES: usize = 16;

/// Rows of each leaf of a shard, with the number of the leaf.
pub(super) type LeafRows = Vec<(usize, Range<usize>)>;

/// Gradients of the leaves of a shard.
#[derive(Debug, Default)]
pub(super) struct Gradients {
    /// Subtrees whose leaves are all in the shard, each with the sum of its gradients.
    subtrees: Vec<(Range<usize>, Vec<f32>)>,
    /// Gradient of each leaf of a subtree, for one matrix.
    leaves: Vec<(usize, Vec<f32>)>,
}

impl Gradients {
    /// Sets the leaves of the shard, its rows and the number of gradients.
    pub fn reset(&mut self, leaves: Range<usize>, rows: &LeafRows, count: usize) -> Result<()> {
        let mut ranges = subtrees(leaves);
        ranges.retain(|range| rows.iter().any(|(leaf, _)| range.contains(leaf)));
        self.subtrees.resize_with(ranges.len(), Default::default);
        for (subtree, range) in self.subtrees.iter_mut().zip(ranges) {
            subtree.0 = range;
            resize(&mut subtree.1, count, 0.0)?;
        }
        Ok(())
    }

    /// Sets the gradients at `place`, given `rows` of each leaf and `compute`, which computes the
    /// gradient of some rows.
    pub fn set(
        &mut self,
        place: &Range<usize>,
        rows: &LeafRows,
        mut compute: impl FnMut(Range<usize>, &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        for (subtree, gradients) in &mut self.subtrees {
            let to = &mut gradients[place.clone()];
            let [first, end] = [subtree.start, subtree.end]
                .map(|leaf| rows.partition_point(|(other, _)| *other < leaf));
            let rows = &rows[first..end];
            if let [(_, rows)] = rows {
                compute(rows.clone(), to)?;
                continue;
            }
            self.leaves.resize_with(rows.len(), Default::default);
            for ((number, gradient), (leaf, rows)) in self.leaves.iter_mut().zip(rows) {
                *number = *leaf;
                resize(gradient, place.len(), 0.0)?;
                compute(rows.clone(), gradient)?;
            }
            sum(&mut self.leaves, subtree.clone())?;
            if let Some((_, sum)) = self.leaves.first() {
                to.copy_from_slice(sum);
            }
        }
        Ok(())
    }
}

/// Adds the gradients of all shards, and returns the sum.
pub(super) fn total<'a>(shards: impl Iterator<Item = &'a mut Gradients>) -> Result<&'a [f32]> {
    let subtrees = shards.flat_map(|shard| &mut shard.subtrees);
    let mut subtrees: Vec<_> = subtrees.map(|(leaves, sum)| (leaves.start, sum)).collect();
    sum(&mut subtrees, 0..LEAVES)?;
    Ok(subtrees.into_iter().next().map_or(&[], |(_, sum)| sum))
}

/// Adds the gradients of subtrees, each with its first leaf, of the tree over `leaves`. The first
/// one becomes the sum. The order of additions depends on the places of the leaves alone.
fn sum<V: BorrowMut<Vec<f32>>>(subtrees: &mut [(usize, V)], leaves: Range<usize>) -> Result<()> {
    if subtrees.len() < 2 {
        return Ok(());
    }
    let middle = leaves.start.midpoint(leaves.end);
    let (left, right) = subtrees.split_at_mut(subtrees.partition_point(|(leaf, _)| *leaf < middle));
    sum(left, leaves.start..middle)?;
    sum(right, middle..leaves.end)?;
    if let ([(_, sum), ..], [(_, other), ..]) = (left, right) {
        add((*other).borrow(), (*sum).borrow_mut())?;
    }
    Ok(())
}

/// Largest subtrees of which a range of leaves consists.
fn subtrees(leaves: Range<usize>) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut first = leaves.start;
    while first < leaves.end {
        let fits = |size: &usize| first.is_multiple_of(*size) && first + size <= leaves.end;
        let size = std::iter::successors(Some(LEAVES), |size| Some(size / 2)).find(fits);
        let end = first + size.unwrap_or(1);
        ranges.push(first..end);
        first = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn ranges_consist_of_few_subtrees() {
        let ends = |leaves: Range<usize>| -> Vec<usize> {
            subtrees(leaves).into_iter().map(|subtree| subtree.end).collect()
        };
        assert_eq!(ends(0..16), [16]);
        assert_eq!(ends(8..16), [16]);
        assert_eq!(ends(5..10), [6, 8, 10]);
        assert!(ends(3..3).is_empty());
    }

    /// Numbers whose sum depends on the order.
    fn gradient(leaf: usize) -> f32 {
        (1.0 + leaf as f32).powi(9) / 7.0
    }

    #[test]
    fn sum_does_not_depend_on_the_shards() {
        let rows: LeafRows =
            (0..LEAVES).filter(|leaf| leaf % 5 != 1).map(|leaf| (leaf, leaf..leaf + 1)).collect();
        let sum = |ends: &[usize]| {
            let mut shards = Vec::new();
            let mut start = 0;
            for &end in ends {
                let mut shard = Gradients::default();
                let own: LeafRows =
                    rows.iter().filter(|row| (start..end).contains(&row.0)).cloned().collect();
                shard.reset(start..end, &own, 3).unwrap();
                let compute = |rows: Range<usize>, to: &mut [f32]| {
                    to.fill(gradient(rows.start));
                    Ok(())
                };
                shard.set(&(1..3), &own, compute).unwrap();
                shards.push(shard);
                start = end;
            }
            total(shards.iter_mut()).unwrap().to_vec()
        };
        let expected = sum(&[16]);
        let exact: f64 = rows.iter().map(|(leaf, _)| f64::from(gradient(*leaf))).sum();
        assert!((f64::from(expected[2]) - exact).abs() < 1e-5 * exact);
        let in_order: f32 = rows.iter().map(|(leaf, _)| gradient(*leaf)).sum();
        assert_ne!(expected[2], in_order, "the order does not matter for these numbers");
        for ends in [&[8, 16][..], &[5, 10, 16], &[4, 8, 12, 16], &[1, 2, 15, 16]] {
            assert_eq!(sum(ends), expected, "{ends:?}");
        }
    }
}
