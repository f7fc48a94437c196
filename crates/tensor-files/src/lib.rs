//! Tensors in files: safetensors, PyTorch's `.bin` checkpoints, and the shards of either.
//!
//! Files are memory-mapped, and pickles are parsed without executing them. The crate does not need
//! libtorch: a tensor is bytes with a data type and a shape.
//!
//! # Main types
//!
//! | Type or function | Purpose |
//! |---|---|
//! | [`find`] | Path of the weight file in a directory, of any format |
//! | [`shards`] | Names of the files of an index |
//! | [`TensorFiles`] | The tensors of a file or of all its shards, by name |
//! | [`StoredTensor`] | Bytes, data type and shape of a tensor |
//! | [`Error`] | Damaged or unsupported file, with its path |
//!
//! # Example
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
pub use files::{StoredTensor, TensorFiles, find, shards};
