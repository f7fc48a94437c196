//! Reading a scalar from the device.

use tch::Tensor;
use tch::{Kind, TchError};

/// Value of a tensor with one element. Waits for the device.
pub(crate) fn scalar(tensor: &Tensor) -> Result<f64, TchError> {
    let mut value = [0f32];
    tensor.f_detach()?.f_to_kind(Kind::Float)?.f_view([-1])?.f_copy_data(&mut value, 1)?;
    Ok(f64::from(value[0]))
}
