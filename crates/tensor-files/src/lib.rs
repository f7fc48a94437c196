//! Tensors in files: safetensors, PyTorch's `.bin` checkpoints, and the shards of either,
//! with a reader that executes no code. It knows no libtorch: a tensor is bytes with a
//! number format and a shape.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("model.safetensors");
//! # let bytes = 1.5f32.to_le_bytes();
//! # let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &bytes)?;
//! # std::fs::write(&path, safetensors::serialize([("weight", view)], None)?)?;
//! use tensor_files::{TensorFiles, find};
//!
//! let path = find(folder.path(), &["model", "pytorch_model"]).expect("a weight file");
//! let files = TensorFiles::open(&path)?;
//! let weight = files.get("weight").expect("a tensor");
//! assert_eq!((weight.shape, weight.bytes.as_ref()), (&[1][..], &1.5f32.to_le_bytes()[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checkpoint;
mod error;
mod files;
mod pickle;
mod place;

pub use error::{Error, FormatProblem, PickleProblem, Result};
pub use files::{StoredTensor, TensorFiles, find};
