//! Matrix products on one tile function.

#[cfg(target_arch = "x86_64")]
mod amx;
mod driver;
mod few_rows;
mod packed;
mod packing;
mod rounding;
mod strided;
mod tile;

pub(crate) use driver::INNER_BLOCK;
pub use few_rows::multiply_few_rows;
pub use packed::{PackedWeights, Precision};
pub use rounding::round_to_bf16;
pub use strided::multiply;
pub(crate) use strided::strided_product;

use crate::error::{Error, check_length, check_shape};
use crate::matrix::{Matrix, MatrixMut};

/// Update of the output of a product.
#[derive(Clone, Copy, Debug)]
pub enum Write<'a> {
    /// `output = product`.
    Replace,
    /// `output += product`.
    Add,
    /// `output = product + bias`, a bias of `[columns]` for every row.
    Bias(&'a [f32]),
}

/// Fails unless `output = left * right` has the right shapes.
fn check_product(
    left: &Matrix<'_>,
    [rows, columns]: [usize; 2],
    output: &MatrixMut<'_>,
    write: Write<'_>,
) -> Result<(), Error> {
    let [left_rows, inner] = left.shape();
    check_shape("right factor of the product", [inner, columns], [rows, columns])?;
    check_shape("output of the product", [left_rows, columns], output.shape())?;
    if let Write::Bias(bias) = write {
        check_length("bias", columns, bias.len())?;
    }
    Ok(())
}
