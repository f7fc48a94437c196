//! Order of a sum over ranks, and the division of micro-batches that it needs.

use std::ops::Range;

use crate::{
    error::{Error, Result},
    place::MOST_PROCESSES,
};

/// Order in which the tensors of the ranks are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Binary tree over the micro-batches of all ranks: the sum has the same bits for every number
    /// of processes.
    Tree,
    /// All-reduce of Gloo or NCCL, usually in a ring. Faster, but the last bits depend on the number of
    /// processes.
    Ring,
}

impl Order {
    pub(crate) fn share(
        self,
        micro_batches: usize,
        rank: usize,
        world: usize,
    ) -> Result<Range<usize>> {
        let start = |rank: usize, world: usize| match self {
            Self::Tree => {
                let subtree = micro_batches.div_ceil(world).next_power_of_two();
                (rank * subtree).min(micro_batches)
            }
            Self::Ring => rank * micro_batches / world,
        };
        let is_possible =
            |world: &usize| *world <= micro_batches && start(world - 1, *world) < micro_batches;
        if !is_possible(&world) {
            let possible = (1..=micro_batches.min(MOST_PROCESSES)).filter(is_possible).collect();
            return Err(Error::Uneven { micro_batches, world, possible });
        }
        Ok(start(rank, world)..start(rank + 1, world))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(order: Order, micro_batches: usize, world: usize) -> Result<Vec<usize>> {
        let share = |rank| Ok(order.share(micro_batches, rank, world)?.len());
        (0..world).map(share).collect()
    }

    #[test]
    fn tree_gives_each_rank_a_complete_subtree() {
        for (micro_batches, world, expected) in [
            (8, 1, &[8][..]),
            (8, 2, &[4, 4]),
            (8, 4, &[2, 2, 2, 2]),
            (12, 3, &[4, 4, 4]),
            (6, 2, &[4, 2]),
            (5, 3, &[2, 2, 1]),
            (7, 7, &[1, 1, 1, 1, 1, 1, 1]),
        ] {
            assert_eq!(shares(Order::Tree, micro_batches, world).unwrap(), expected);
        }
    }

    #[test]
    fn ring_divides_evenly() {
        assert_eq!(shares(Order::Ring, 9, 4).unwrap(), [2, 2, 2, 3]);
        assert_eq!(shares(Order::Ring, 8, 3).unwrap(), [2, 3, 3]);
    }

    #[test]
    fn uneven_division_names_the_possible_numbers_of_processes() {
        let error = shares(Order::Tree, 8, 3).unwrap_err().to_string();
        let expected = "8 micro-batches per step cannot be shared by 3 processes, expected 1, 2, 4 \
                        or 8 processes";
        assert_eq!(error, expected);
        let error = shares(Order::Ring, 2, 3).unwrap_err().to_string();
        assert!(error.ends_with("expected 1 or 2 processes"), "{error}");
        let error = shares(Order::Tree, 1, 2).unwrap_err().to_string();
        let expected = "1 micro-batch per step cannot be shared by 2 processes, expected 1 process";
        assert_eq!(error, expected);
    }
}
