//! Sum of the gradients of micro-batches.

use clap::ValueEnum;
use distributed::Order;
use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

/// All-reduce algorithm of the gradients of micro-batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Reduce {
    /// Binary tree over all micro-batches: the same bits for every number of processes
    #[default]
    Tree,
    /// The ring all-reduce of Gloo or NCCL: faster and with less memory, but the last bits depend on the number
    /// of processes
    Ring,
}

impl From<Reduce> for Order {
    fn from(reduce: Reduce) -> Self {
        match reduce {
            Reduce::Tree => Self::Tree,
            Reduce::Ring => Self::Ring,
        }
    }
}

/// Copies gradients and the loss into one tensor of float32, `[elements + 1]`.
pub(super) fn flattened(gradients: &[Tensor], loss: &Tensor) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    let elements = gradients
        .iter()
        .chain([loss])
        .map(|tensor| tensor.f_detach()?.f_to_kind(Kind::Float)?.f_reshape([-1]));
    Tensor::f_cat(&elements.collect::<Result<Vec<_>, _>>()?, 0)
}

/// Copies a tensor of [`flattened`] back into the gradients, and returns its loss.
pub(super) fn restore(gradients: &mut [Tensor], flat: &Tensor) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    let mut first = 0;
    for gradient in gradients {
        let count = gradient.numel() as i64;
        gradient.f_copy_(&flat.f_narrow(0, first, count)?.f_view(&gradient.size()[..])?)?;
        first += count;
    }
    // A view would keep the whole tensor for as long as the loss.
    flat.f_get(first)?.f_add_scalar(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_of_any_layout_are_restored() {
        let matrix = Tensor::arange(6, (Kind::Float, tch::Device::Cpu)).view([2, 3]);
        let gradients = [matrix.tr(), Tensor::from(7_f32), Tensor::from_slice(&[-0.0_f32, 1.5])];
        let flat = flattened(&gradients, &Tensor::from(0.25_f64)).unwrap();
        assert_eq!(flat.size(), [10]);
        let mut restored =
            [matrix.zeros_like().tr(), Tensor::from(0_f32), Tensor::zeros_like(&gradients[2])];
        let loss = restore(&mut restored, &flat).unwrap();
        assert_eq!(f32::try_from(&loss).unwrap(), 0.25);
        for (restored, expected) in restored.iter().zip(&gradients) {
            assert!(restored.equal(expected), "{restored:?}");
        }
    }
}
