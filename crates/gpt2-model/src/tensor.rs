//! Small tensor operations that models and training loops share.

use tch::{Device, Kind, TchError, Tensor};

/// Returns whether no element is NaN or infinite, without a copy: such an element is
/// the minimum or the maximum.
pub fn is_finite(tensor: &Tensor) -> Result<bool, TchError> {
    if tensor.numel() == 0 {
        return Ok(true);
    }
    let (least, most) = tensor.f_aminmax(None, false)?;
    Ok(least.f_double_value(&[])?.is_finite() && most.f_double_value(&[])?.is_finite())
}

/// Creates a tensor of integers, `[values]`, on a device.
pub fn integers(values: &[i64], device: Device) -> Result<Tensor, TchError> {
    Tensor::f_from_slice(values)?.f_to_device(device)
}

/// Returns the elements as bytes, row by row, as a safetensors file has them.
pub fn bytes(tensor: &Tensor) -> Result<Vec<u8>, TchError> {
    let flat = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1])?;
    let size = flat.numel() * flat.kind().elt_size_in_bytes();
    let mut bytes = vec![0u8; size];
    flat.f_view_dtype(Kind::Uint8)?.f_copy_data(&mut bytes, size)?;
    Ok(bytes)
}

/// Returns the elements as float32, row by row.
pub fn float_values(tensor: &Tensor) -> crate::Result<Vec<f32>> {
    let mut values = Vec::new();
    kernels::resize(&mut values, tensor.numel(), 0.0)?;
    let flat = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
    flat.f_contiguous()?.f_view([-1])?.f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}

/// Borrows the elements of a contiguous float32 tensor on the CPU, row by row; `None` for any
/// other tensor. Nothing may write the tensor meanwhile, as nothing writes frozen weights.
pub fn float_slice(tensor: &Tensor) -> Option<&[f32]> {
    let data = float_data(tensor)?;
    // SAFETY: the storage holds this many float32 at this address, and lives as long as the
    // tensor.
    Some(unsafe { std::slice::from_raw_parts(data, tensor.numel()) })
}

/// As [`float_slice`], to write the elements. Nothing may use them through another tensor of the
/// same storage meanwhile, and autograd does not know of the change.
pub fn float_slice_mut(tensor: &mut Tensor) -> Option<&mut [f32]> {
    let data = float_data(tensor)?;
    // SAFETY: as in `float_slice`.
    Some(unsafe { std::slice::from_raw_parts_mut(data, tensor.numel()) })
}

/// Address of the elements of a contiguous float32 tensor on the CPU.
fn float_data(tensor: &Tensor) -> Option<*mut f32> {
    let is_plain = tensor.device() == Device::Cpu
        && tensor.kind() == Kind::Float
        && tensor.is_contiguous()
        && !tensor.data_ptr().is_null();
    is_plain.then(|| tensor.data_ptr().cast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_order() {
        let tensor = integers(&[3, 1, 2], Device::Cpu).unwrap();
        assert_eq!(tensor, Tensor::from_slice(&[3i64, 1, 2]));
        assert_eq!(integers(&[], Device::Cpu).unwrap().size(), [0]);
    }

    #[test]
    fn nan_and_infinite_elements_are_found() {
        for (value, finite) in [(1.0f32, true), (f32::NAN, false), (f32::NEG_INFINITY, false)] {
            assert_eq!(is_finite(&Tensor::from_slice(&[0.0, value, 2.0])).unwrap(), finite);
        }
    }

    #[test]
    fn float_values_are_row_by_row() {
        let matrix = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0]).view([2, 2]).tr();
        assert_eq!(float_values(&matrix.to_kind(Kind::BFloat16)).unwrap(), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(float_slice(&matrix), None);
        assert_eq!(float_slice(&matrix.tr()), Some([1.0, 2.0, 3.0, 4.0].as_slice()));
        if let Some(values) = float_slice_mut(&mut matrix.tr()) {
            values[1] = 5.0;
        }
        assert_eq!(float_values(&matrix).unwrap(), [1.0, 3.0, 5.0, 4.0]);
    }

    #[test]
    fn bytes_are_little_endian_and_row_by_row() {
        let matrix = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0]).view([2, 2]);
        let expected: Vec<u8> =
            [1f32, 3.0, 2.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(bytes(&matrix.tr()).unwrap(), expected);
    }
}
