//! The product of a vector and a weight.

use kernels::{Error, Isa, Matrix, MatrixMut, PackedWeights, Precision, Scratch, Write};

fn main() -> Result<(), Error> {
    let weight = Matrix::new(&[1.0, 2.0, 3.0, 4.0], 2, 2)?.transposed();
    let packed = PackedWeights::pack(Isa::detect(), Precision::Float32, &weight)?;
    let mut output = [0.0; 2];
    let mut to = MatrixMut::new(&mut output, 1, 2)?;
    let input = Matrix::new(&[1.0, 2.0], 1, 2)?;
    packed.multiply(&input, &mut to, Write::Replace, &mut Scratch::new())?;
    println!("product {output:?}");
    Ok(())
}
