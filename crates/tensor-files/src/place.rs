//! Place of a tensor in a file.

use std::ops::Range;

use safetensors::Dtype;

/// Elements of a tensor in a mapped file.
#[derive(Debug)]
pub(crate) struct Place {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Bytes of the storage.
    pub range: Range<usize>,
    /// First element and strides, if the elements are not the storage, row by row.
    pub strided: Option<(usize, Vec<usize>)>,
}
