//! DoRA magnitudes: norms of the weight's rows, trained apart from their directions
//! (Liu et al. 2024, *DoRA: Weight-Decomposed Low-Rank Adaptation*).

use std::ops::Range;

use tch::{Kind, TchError, Tensor};

use crate::layer::slice::{Slice, slices_in};

/// Lower bound of a squared norm: a row of zeros has no direction, and its gain is
/// zero instead of NaN.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

/// Magnitudes `m` of one layer.
#[derive(Debug)]
pub(crate) struct Magnitude {
    /// `m` `[out]`, float32, trainable.
    pub magnitude: Tensor,
    /// `‖w‖²` of every row of the frozen weight, `[out]`, float32.
    squares: Tensor,
}

impl Magnitude {
    /// Creates magnitudes for the frozen `weight` `[out, in]`.
    pub fn new(magnitude: Tensor, weight: &Tensor) -> Result<Self, TchError> {
        Ok(Self { magnitude, squares: squares(weight)? })
    }

    /// Returns `m / ‖W + s B A‖` `[rows]`, the factor on each output. The norm is a
    /// constant for the gradient, as in section 4.3 of the paper.
    pub fn gain(
        &self,
        weight: &Tensor,
        slices: &[Slice],
        rows: &Range<i64>,
    ) -> Result<Tensor, TchError> {
        let lengths = {
            let _no_grad = tch::no_grad_guard();
            lengths(&self.squares_with(weight, slices, rows)?)?
        };
        self.magnitude.f_narrow(0, rows.start, rows.end - rows.start)?.f_div(&lengths)
    }

    /// Returns `‖w + s b A‖²` of `rows`, from products as narrow as the rank:
    /// `‖w‖² + 2 s (W Aᵀ) b + s² b (A Aᵀ) b`.
    fn squares_with(
        &self,
        weight: &Tensor,
        slices: &[Slice],
        rows: &Range<i64>,
    ) -> Result<Tensor, TchError> {
        let squares = self.squares.f_narrow_copy(0, rows.start, rows.end - rows.start)?;
        for (slice, common) in slices_in(slices, rows)? {
            let length = common.end - common.start;
            let b = slice.b.f_narrow(0, common.start - slice.start, length)?;
            let w = weight.f_narrow(0, common.start, length)?.f_to_kind(Kind::Float)?;
            let cross = w.f_mm(&slice.a.f_tr()?)?.f_mul_scalar(2.0 * slice.scale)?;
            let gram = slice.a.f_mm(&slice.a.f_tr()?)?.f_mul_scalar(slice.scale * slice.scale)?;
            let added = cross.f_add(&b.f_mm(&gram)?)?.f_mul(&b)?;
            let added = added.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
            let _ = squares.f_narrow(0, common.start - rows.start, length)?.f_add_(&added)?;
        }
        Ok(squares)
    }
}

/// Returns the norm of every row of `weight` `[out, in]`: `[out]`, float32.
pub(crate) fn row_lengths(weight: &Tensor) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    lengths(&squares(weight)?)
}

fn lengths(squares: &Tensor) -> Result<Tensor, TchError> {
    squares.f_clamp_min(SMALLEST)?.f_sqrt()
}

fn squares(weight: &Tensor) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    let squares = weight.f_to_kind(Kind::Float)?.f_square()?;
    squares.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn row_norms_equal_the_full_product() {
        tch::manual_seed(3);
        let random = |size: [i64; 2]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        let weight = random([9, 6]);
        // Rows 0 to 1 and 5 to 7 have no adapter.
        let slices = [
            Slice { a: random([2, 6]), b: random([3, 2]), start: 2, scale: 1.5 },
            Slice { a: random([4, 6]), b: random([1, 4]), start: 8, scale: -0.5 },
        ];
        let whole = weight.copy();
        for slice in &slices {
            let mut rows = whole.narrow(0, slice.start, slice.b.size()[0]);
            let _ = rows.g_add_(&(slice.b.mm(&slice.a) * slice.scale));
        }
        let magnitude = Magnitude::new(Tensor::ones([9], (Kind::Float, Device::Cpu)), &weight);
        let magnitude = magnitude.unwrap();
        for rows in [0..9, 3..9, 5..7, 4..5] {
            let expected = row_lengths(&whole).unwrap().reciprocal();
            let expected = expected.narrow(0, rows.start, rows.end - rows.start);
            let gain = magnitude.gain(&weight, &slices, &rows).unwrap();
            assert!(gain.allclose(&expected, 1e-5, 1e-6, false), "{rows:?}");
        }
    }

    #[test]
    fn a_row_of_zeros_has_gain_zero() {
        let weight = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let magnitude = Magnitude::new(Tensor::zeros([2], (Kind::Float, Device::Cpu)), &weight);
        let gain = magnitude.unwrap().gain(&weight, &[], &(0..2)).unwrap();
        assert_eq!(gain, Tensor::zeros([2], (Kind::Float, Device::Cpu)));
    }
}
