//! Freezing and counting parameters.

use std::borrow::Borrow;

use tch::{TchError, Tensor};

/// Number of parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParameterCount {
    /// All of them.
    pub total: u64,
    /// Parameters in tensors that require a gradient.
    pub trainable: u64,
}

impl ParameterCount {
    /// Counts `parameters`.
    pub fn of<T: Borrow<Tensor>>(parameters: impl IntoIterator<Item = T>) -> Self {
        parameters.into_iter().fold(Self::default(), |count, parameter| {
            let parameter = parameter.borrow();
            let numbers = parameter.numel() as u64;
            let trained = if parameter.requires_grad() { numbers } else { 0 };
            Self { total: count.total + numbers, trainable: count.trainable + trained }
        })
    }
}

/// Freezes `parameters`: none of them requires a gradient afterwards.
///
/// # Errors
/// Any libtorch error, for example for a tensor that is the result of a computation.
pub fn freeze<T: Borrow<Tensor>>(parameters: impl IntoIterator<Item = T>) -> Result<(), TchError> {
    for parameter in parameters {
        // The flag belongs to the tensor that all handles share.
        let _ = parameter.borrow().f_set_requires_grad(false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn frozen_parameters_do_not_count_as_trainable() {
        let new = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
        let all = [new(&[2, 3]).set_requires_grad(true), new(&[5]).set_requires_grad(true)];
        freeze([&all[0]]).unwrap();
        assert_eq!(ParameterCount::of(&all), ParameterCount { total: 11, trainable: 5 });
    }
}
