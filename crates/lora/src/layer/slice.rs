//! Adapters on slices of a layer's outputs.

use std::ops::Range;

use tch::{Device, Kind, TchError, Tensor};

/// `A` and `B` on a slice of a layer's outputs.
#[derive(Debug)]
pub(crate) struct Slice {
    /// `[rank, in]`
    pub a: Tensor,
    /// `[rows, rank]`
    pub b: Tensor,
    /// First output of the slice.
    pub start: i64,
    /// Factor on the product.
    pub scale: f64,
}

/// Returns the slices that overlap `rows`, each with its overlap.
pub(crate) fn slices_in<'a>(
    slices: &'a [Slice],
    rows: &Range<i64>,
) -> Result<Vec<(&'a Slice, Range<i64>)>, TchError> {
    let mut found = Vec::new();
    for slice in slices {
        let end = slice.start + slice.b.size2()?.0;
        let common = rows.start.max(slice.start)..rows.end.min(end);
        if !common.is_empty() {
            found.push((slice, common));
        }
    }
    Ok(found)
}

/// Several slices as one product.
pub(crate) struct JoinedSlices {
    /// The `A`s stacked, `[Σ rank, in]`.
    pub a: Tensor,
    /// The `B`s block-diagonal, `[rows, Σ rank]`, with zeros in outputs without a slice.
    pub b: Tensor,
    /// Factor on the product.
    pub scale: f64,
}

impl JoinedSlices {
    /// Joins the slices that overlap `rows`; `None` if there are none.
    pub fn new(
        slices: &[Slice],
        rows: &Range<i64>,
        device: Device,
    ) -> Result<Option<Self>, TchError> {
        let slices = slices_in(slices, rows)?;
        let Some((first, _)) = slices.first() else { return Ok(None) };
        let scale = first.scale;
        let gap = |rows: i64| Tensor::f_zeros([rows, 0], (Kind::Float, device));
        let (mut stacked, mut diagonal) = (Vec::new(), Vec::new());
        let mut row = rows.start;
        for (slice, common) in &slices {
            if common.start > row {
                diagonal.push(gap(common.start - row)?);
            }
            let length = common.end - common.start;
            diagonal.push(slice.b.f_narrow(0, common.start - slice.start, length)?);
            row = common.end;
            stacked.push(slice.a.shallow_clone());
        }
        if row < rows.end {
            diagonal.push(gap(rows.end - row)?);
        }
        if slices.iter().all(|(slice, _)| slice.scale == scale) {
            let (a, b) = match (stacked.as_slice(), diagonal.as_slice()) {
                ([a], [b]) => (a.shallow_clone(), b.shallow_clone()),
                _ => (Tensor::f_cat(&stacked, 0)?, Tensor::f_block_diag(&diagonal)?),
            };
            return Ok(Some(Self { a, b, scale }));
        }
        // Different factors are applied to the narrow side.
        for (a, (slice, _)) in stacked.iter_mut().zip(&slices) {
            *a = a.f_mul_scalar(slice.scale)?;
        }
        let (a, b) = (Tensor::f_cat(&stacked, 0)?, Tensor::f_block_diag(&diagonal)?);
        Ok(Some(Self { a, b, scale: 1.0 }))
    }
}
