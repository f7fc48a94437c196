//! CPU kernels of GPT-2 fine-tuning with LoRA, on plain slices: matrix products with packed
//! weights, causal attention, layer norm and GELU, each with its gradient, and AdamW.
//!
//! ```
//! use kernels::{Isa, Matrix, MatrixMut, PackedWeights, Precision, Scratch, Write};
//!
//! // A linear layer of 3 inputs and 2 outputs, as `torch.nn.Linear` stores it.
//! let weight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
//! let weight = Matrix::new(&weight, 2, 3)?;
//! let forward = PackedWeights::pack(Isa::detect(), Precision::Float32, &weight.transposed())?;
//!
//! let (input, bias) = ([1.0, 0.0, -1.0], [0.5, 0.5]);
//! let mut output = [0.0; 2];
//! let mut scratch = Scratch::new();
//! forward.multiply(
//!     &Matrix::new(&input, 1, 3)?,
//!     &mut MatrixMut::new(&mut output, 1, 2)?,
//!     Write::Bias(&bias),
//!     &mut scratch,
//! )?;
//! assert_eq!(output, [-1.5, -1.5]);
//! # Ok::<(), kernels::Error>(())
//! ```
//!
//! A matrix is row-major, `[rows, columns]`; activations are `[tokens, features]`. Every kernel
//! runs on the calling thread: a caller gives each thread its own sequences and its own
//! [`Scratch`]. Buffers belong to the caller; after a warm-up of the same sizes no kernel
//! allocates.
//!
//! [`Isa::detect`] picks the instruction set. A result depends on the instruction set, but not on
//! the other rows of a product, their number or their order: a sequence gives the same bits alone
//! and in a batch.
//!
//! Public functions are safe: they check every length and shape, and [`Isa`] exists only for instruction sets that the CPU has.

mod adamw;
mod attention;
mod elementwise;
mod error;
mod gelu;
mod isa;
mod layer_norm;
mod matrix;
mod product;
mod reductions;
mod scratch;
mod simd;
mod softmax;

pub use adamw::AdamW;
pub use attention::{Attention, attend};
pub use elementwise::{add, add_masked, mask};
pub use error::Error;
pub use gelu::Gelu;
pub use isa::Isa;
pub use layer_norm::{LayerNorm, Statistics};
pub use matrix::{Matrix, MatrixMut, padded_stride};
pub use product::{PackedWeights, Precision, Write, multiply, multiply_few_rows, round_to_bf16};
pub use reductions::{is_finite, sum_of_squares};
pub use scratch::{Scratch, resize};
pub use softmax::RunningSoftmax;
