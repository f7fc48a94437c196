//! Shape of GPT-2 in the Hugging Face layout: its `config.json`, and the tensors that the
//! configuration asks for in a weight file.
//!
//! The crate computes nothing and does not need libtorch: whoever stores or downloads a model checks
//! it by the same rules as the program that loads it.
//!
//! # Main types
//!
//! | Type or function | Purpose |
//! |---|---|
//! | [`Gpt2Config`] | The settings of `config.json`, checked |
//! | [`weight_file`] | Path of the weight file in a model directory |
//! | [`TokenIds`] | The tokens that end a text |
//! | [`check_special_tokens`] | Ids of special tokens in `config.json` or `generation_config.json` |
//! | [`expected`] | Name and shape of every tensor of a configuration |
//! | [`Body`] | Tensors of a weight file by name, and everything that differs from [`expected`] |
//! | [`directory_of`], [`repository_of`] | Directory of a checkpoint of the Hub, and its origin |
//! | [`Error`] | Unusable file, with its path |
//!
//! # Example
//!
//! ```
//! use gpt2_config::{Body, Gpt2Config, weight_file};
//! use tensor_files::TensorFiles;
//!
//! let folder = std::path::Path::new("../../weights/pocket");
//! let config = Gpt2Config::from_file(&folder.join("config.json"))?;
//! let files = TensorFiles::open(&weight_file(folder))?;
//! let body = Body::find(&files, &config);
//! assert!(body.problems.is_empty());
//! assert_eq!(body.tensors["wpe.weight"].1.shape[1] as i64, config.n_embd);
//! # Ok::<(), gpt2_config::Error>(())
//! ```

mod config;
mod error;
mod repository;
mod tensors;
mod token_ids;

pub use config::{Activation, Gpt2Config, read_text};
pub use error::{ConfigProblem, Error, Result, TensorProblem, summary};
pub use repository::{RECORD, directory_of, repository_of};
pub use tensors::{Body, HEAD_WEIGHT, LM_HEAD, expected, unwrapped, weight_file};
pub use token_ids::{TokenIds, check_special_tokens};
