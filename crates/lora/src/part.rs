//! Adapters on ranges of a layer's outputs.

use std::ops::Range;

use tch::{Device, Kind, TchError, Tensor};

/// `A` and `B` on a range of a layer's outputs.
#[derive(Debug)]
pub(crate) struct Part {
    /// `[rank, in]`
    pub a: Tensor,
    /// `[rows, rank]`
    pub b: Tensor,
    /// First output that the part adds to.
    pub start: i64,
    /// The factor on the product.
    pub scale: f64,
}

/// The parts that add to some of `rows`, and to which.
pub(crate) fn parts_in<'a>(
    parts: &'a [Part],
    rows: &Range<i64>,
) -> Result<Vec<(&'a Part, Range<i64>)>, TchError> {
    let mut found = Vec::new();
    for part in parts {
        let end = part.start + part.b.size2()?.0;
        let common = rows.start.max(part.start)..rows.end.min(end);
        if !common.is_empty() {
            found.push((part, common));
        }
    }
    Ok(found)
}

/// Several parts as one product.
pub(crate) struct Joined {
    /// The `A`s on top of each other, `[Σ rank, in]`.
    pub a: Tensor,
    /// The `B`s along a diagonal, `[rows, Σ rank]`, with zeros where no part adds.
    pub b: Tensor,
    /// The factor on the product.
    pub scale: f64,
}

impl Joined {
    /// The parts that add to `rows`, or `None` if none does.
    pub fn new(
        parts: &[Part],
        rows: &Range<i64>,
        device: Device,
    ) -> Result<Option<Self>, TchError> {
        let parts = parts_in(parts, rows)?;
        let Some((first, _)) = parts.first() else { return Ok(None) };
        let scale = first.scale;
        let gap = |rows: i64| Tensor::f_zeros([rows, 0], (Kind::Float, device));
        let (mut stacked, mut diagonal) = (Vec::new(), Vec::new());
        let mut row = rows.start;
        for (part, common) in &parts {
            if common.start > row {
                diagonal.push(gap(common.start - row)?);
            }
            let length = common.end - common.start;
            diagonal.push(part.b.f_narrow(0, common.start - part.start, length)?);
            row = common.end;
            stacked.push(part.a.shallow_clone());
        }
        if row < rows.end {
            diagonal.push(gap(rows.end - row)?);
        }
        if parts.iter().all(|(part, _)| part.scale == scale) {
            let (a, b) = match (stacked.as_slice(), diagonal.as_slice()) {
                ([a], [b]) => (a.shallow_clone(), b.shallow_clone()),
                _ => (Tensor::f_cat(&stacked, 0)?, Tensor::f_block_diag(&diagonal)?),
            };
            return Ok(Some(Self { a, b, scale }));
        }
        // Each its own factor, on the narrow side.
        for (a, (part, _)) in stacked.iter_mut().zip(&parts) {
            *a = a.f_mul_scalar(part.scale)?;
        }
        let (a, b) = (Tensor::f_cat(&stacked, 0)?, Tensor::f_block_diag(&diagonal)?);
        Ok(Some(Self { a, b, scale: 1.0 }))
    }
}
