//! PyTorch checkpoints (`torch.save` since PyTorch 1.6): a zip archive of `data.pkl`, which
//! describes the tensors, and one uncompressed file for each storage.

use std::{
    collections::HashMap,
    io::{Cursor, Read},
    ops::Range,
    path::Path,
};

use zip::{CompressionMethod, ZipArchive};

use crate::{
    error::{Error, FormatProblem, Result},
    pickle::{self, PickledTensor},
    place::Place,
};

/// Limit of the size of `data.pkl`, far above any model's.
const MAX_PICKLE: u64 = 16 << 20;

/// Finds the tensors of a checkpoint; `path` is for messages.
pub(crate) fn places(bytes: &[u8], path: &Path) -> Result<Vec<(String, Place)>> {
    let failed = |problem: FormatProblem| Error::format(path, problem);
    let damaged = |error: &dyn std::fmt::Display| {
        failed(FormatProblem::Archive { reason: error.to_string() })
    };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    let (mut pickled, mut storages) = (None, HashMap::<String, Range<usize>>::new());
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(|error| damaged(&error))?;
        // archive/data.pkl, archive/data/0, archive/version …
        let name = file.name().map_err(|error| damaged(&error))?.into_owned();
        let Some((_, name)) = name.split_once('/') else { continue };
        if name == "byteorder" {
            let mut order = String::new();
            file.take(16).read_to_string(&mut order).map_err(|error| damaged(&error))?;
            if order != "little" {
                return Err(failed(FormatProblem::ByteOrder { order }));
            }
        } else if name == "data.pkl" {
            let mut pickle = Vec::new();
            file.take(MAX_PICKLE + 1).read_to_end(&mut pickle).map_err(|error| damaged(&error))?;
            pickled = Some(pickle);
        } else if let Some(key) = name.strip_prefix("data/") {
            let storage = key.to_owned();
            if file.compression() != CompressionMethod::Stored {
                return Err(failed(FormatProblem::CompressedStorage { storage }));
            }
            let (Some(start), size) = (file.data_start(), file.size()) else {
                return Err(failed(FormatProblem::IncompleteStorage { storage }));
            };
            let end = start.checked_add(size).filter(|&end| end <= bytes.len() as u64);
            let Some(end) = end else {
                return Err(failed(FormatProblem::IncompleteStorage { storage }));
            };
            storages.insert(storage, start as usize..end as usize);
        }
    }
    let pickle = pickled.ok_or_else(|| failed(FormatProblem::NoPickle))?;
    if pickle.len() as u64 > MAX_PICKLE {
        return Err(failed(FormatProblem::LongPickle { most: MAX_PICKLE }));
    }
    let tensors = pickle::tensors(&pickle).map_err(|problem| failed(problem.into()))?;
    tensors
        .into_iter()
        .map(|(name, tensor)| {
            let place = place(&name, &tensor, &storages).map_err(failed)?;
            Ok((name, place))
        })
        .collect()
}

/// Finds the elements of a tensor in its storage, and refuses elements outside.
fn place(
    name: &str,
    tensor: &PickledTensor,
    storages: &HashMap<String, Range<usize>>,
) -> Result<Place, FormatProblem> {
    let PickledTensor { dtype, storage, offset, shape, strides } = tensor;
    let range = storages.get(storage).ok_or_else(|| FormatProblem::NoStorage {
        tensor: name.to_owned(),
        storage: storage.clone(),
    })?;
    let width = dtype.bitsize() / 8;
    let outside =
        || FormatProblem::OutsideStorage { tensor: name.to_owned(), shape: shape.clone() };
    let count = shape.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
    let count = count.ok_or_else(outside)?;
    // Row by row, the last dimension has stride 1.
    let mut expected = 1usize;
    let mut is_contiguous = shape.len() == strides.len();
    let mut last = Some(*offset);
    for (size, stride) in shape.iter().zip(strides).rev() {
        is_contiguous &= *size <= 1 || *stride == expected;
        expected = expected.saturating_mul(*size);
        let span = size.saturating_sub(1).checked_mul(*stride);
        last = last.zip(span).and_then(|(last, span)| last.checked_add(span));
    }
    if shape.len() != strides.len() {
        let (dimensions, strides) = (shape.len(), strides.len());
        return Err(FormatProblem::Strides { tensor: name.to_owned(), dimensions, strides });
    }
    let end = last.and_then(|last| last.checked_add(1)?.checked_mul(width));
    let available = range.end - range.start;
    if count > 0 && end.is_none_or(|end| end > available) {
        return Err(outside());
    }
    // A stride of zero would make much of little.
    if !is_contiguous && count.checked_mul(width).is_none_or(|bytes| bytes > available) {
        return Err(outside());
    }
    let place = |range, strided| Place { dtype: *dtype, shape: shape.clone(), range, strided };
    Ok(if count == 0 {
        place(range.start..range.start, None)
    } else if is_contiguous {
        let start = range.start + offset * width;
        place(start..start + count * width, None)
    } else {
        place(range.clone(), Some((*offset, strides.clone())))
    })
}
