//! Tensors of adapter files.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use safetensors::{Dtype, tensor::TensorView};
use tch::{Device, Kind, Tensor};
use tensor_files::{StoredTensor, TensorFiles};

use crate::error::{Error, FormatProblem, Result};

/// Reads tensors as float32 on the CPU. They must be float32, float16 or bfloat16, without
/// NaN or infinite values.
///
/// # Errors
/// [`Error::Storage`] or [`Error::Format`], which names the tensor at fault.
pub(crate) fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let failed = |problem| Error::Format { path: path.to_owned(), problem };
    let files = TensorFiles::open(path)?;
    let mut tensors = BTreeMap::new();
    for name in files.names() {
        let Some(StoredTensor { dtype, shape, bytes }) = files.get(name) else { continue };
        let kind = match dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            dtype => {
                return Err(failed(FormatProblem::DType { tensor: name.to_owned(), dtype }));
            }
        };
        let size: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        let tensor = Tensor::f_from_data_size(&bytes, &size, kind)?.f_to_kind(Kind::Float)?;
        if !tensor.f_isfinite()?.f_all()?.f_is_nonzero()? {
            return Err(failed(FormatProblem::NotFinite { tensor: name.to_owned() }));
        }
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(tensors)
}

/// Writes tensors as a safetensors file of float32.
///
/// # Errors
/// [`Error::Storage`] names the file that could not be written.
pub(crate) fn write_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let failed = |error: safetensors::SafeTensorError| {
        let problem = FormatProblem::Serialize { reason: error.to_string() };
        Error::Format { path: path.to_owned(), problem }
    };
    let mut stored = Vec::new();
    for (name, tensor) in tensors {
        stored.push((name, tensor.size(), bytes_of(tensor)?));
    }
    let mut views = Vec::new();
    for (name, size, bytes) in &stored {
        let size = size.iter().map(|&size| size as usize).collect();
        let view = TensorView::new(Dtype::F32, size, bytes).map_err(failed)?;
        views.push((name, view));
    }
    // Python readers expect the name of the framework.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(failed)?;
    Ok(storage::write_atomic(path, &bytes)?)
}

/// Returns a float32 copy on the CPU that shares no memory with `tensor`.
pub(crate) fn copy_of(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.f_detach()?.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(&tensor)?;
    Ok(copy)
}

/// Returns the elements of a float32 CPU tensor as bytes, row by row.
fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.f_contiguous()?.f_view([-1])?;
    let mut values = vec![0f32; flat.numel()];
    let count = values.len();
    flat.f_copy_data(&mut values, count)?;
    Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}
