//! Sum in the order of a binary tree.

use tch::Tensor;

use crate::error::Result;

/// Sum of tensors in the order of a binary tree, which depends on their number only: neighbors are
/// added first, then the sums of neighbors. The last tensor of an odd number waits for the next
/// level.
///
/// At most log₂(n) + 1 tensors are in memory.
#[derive(Debug, Default)]
pub struct TreeSum {
    /// Sums of complete subtrees with their numbers of leaves, which decrease.
    subtrees: Vec<(Tensor, usize)>,
}

impl TreeSum {
    /// Creates an empty sum.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next tensor, which may be overwritten.
    pub fn add(&mut self, tensor: Tensor) -> Result<()> {
        let (mut sum, mut leaves) = (tensor, 1);
        while let Some((left, _)) = self.subtrees.pop_if(|(_, count)| *count == leaves) {
            sum = added(left, &sum)?;
            leaves *= 2;
        }
        self.subtrees.push((sum, leaves));
        Ok(())
    }

    /// Returns the sum, or `None` without tensors.
    pub fn finish(mut self) -> Result<Option<Tensor>> {
        let Some((mut sum, _)) = self.subtrees.pop() else {
            return Ok(None);
        };
        while let Some((left, _)) = self.subtrees.pop() {
            sum = added(left, &sum)?;
        }
        Ok(Some(sum))
    }
}

fn added(mut left: Tensor, right: &Tensor) -> Result<Tensor> {
    Ok(left.f_add_(right)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers whose sum depends on the order.
    fn leaf(index: i32) -> f32 {
        (index as f32 * 12.9).sin() * 10_f32.powi(index % 5)
    }

    fn by_level(mut values: Vec<f32>) -> f32 {
        while values.len() > 1 {
            values = values
                .chunks(2)
                .map(|pair| pair.iter().copied().reduce(|a, b| a + b).unwrap())
                .collect();
        }
        values[0]
    }

    #[test]
    fn sum_adds_neighbors_level_by_level() {
        let mut different_orders = 0;
        for count in 1..40 {
            let leaves: Vec<f32> = (0..count).map(leaf).collect();
            let mut sum = TreeSum::new();
            for leaf in &leaves {
                sum.add(Tensor::from_slice(&[*leaf])).unwrap();
            }
            let sum = f32::try_from(&sum.finish().unwrap().unwrap()).unwrap();
            assert_eq!(sum.to_bits(), by_level(leaves.clone()).to_bits(), "{count} leaves");
            different_orders += i32::from(sum.to_bits() != leaves.iter().sum::<f32>().to_bits());
        }
        assert!(different_orders > 10, "only {different_orders} sums depend on the order");
    }

    #[test]
    fn sum_of_nothing_is_empty() {
        assert!(TreeSum::new().finish().unwrap().is_none());
    }
}
