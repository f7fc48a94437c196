//! Numbers that are none.

use tch::{TchError, Tensor};

/// Whether every number of a tensor is finite, found without a copy of them: what is
/// not a number is the smallest and the largest of all.
///
/// # Errors
/// Whatever libtorch refuses.
pub fn is_finite(tensor: &Tensor) -> Result<bool, TchError> {
    if tensor.numel() == 0 {
        return Ok(true);
    }
    let (least, most) = tensor.f_aminmax(None, false)?;
    Ok(least.f_double_value(&[])?.is_finite() && most.f_double_value(&[])?.is_finite())
}
