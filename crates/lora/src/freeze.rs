//! What is trained and what is not.

use std::borrow::Borrow;

use tch::{TchError, Tensor};

/// Numbers in a set of parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParameterCount {
    /// All of them.
    pub total: u64,
    /// Those in tensors that require a gradient.
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

/// Takes `parameters` out of training: none of them requires a gradient after.
///
/// # Errors
/// Whatever libtorch refuses, a tensor that is the result of a computation for
/// example.
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
    fn frozen_parameters_are_counted_but_not_as_trainable() {
        let new = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
        let all = [new(&[2, 3]).set_requires_grad(true), new(&[5]).set_requires_grad(true)];
        freeze([&all[0]]).unwrap();
        assert_eq!(ParameterCount::of(&all), ParameterCount { total: 11, trainable: 5 });
    }
}
