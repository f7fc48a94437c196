//! GPT-2 on libtorch: the model of Radford et al. 2019, *Language Models are
//! Unsupervised Multitask Learners*, in any size, read from the two files that
//! the Hugging Face hub has of it (`config.json`, `model.safetensors`).
//!
//! * [`Gpt2`] is the body: token ids in, hidden states out.
//! * [`generate()`] continues a text with the tied language-model head.
//! * [`Gpt2Classifier`] puts a classification head on the body.
//! * [`Gpt2Classifier::visit_linears`] hands out every linear layer by name, to
//!   be looked at or replaced. Methods that change linear layers, such as LoRA,
//!   are built on this and are not known here.
//!
//! All weights are computed in float32, whatever the file holds, unless
//! [`Gpt2::with_dtype`] says otherwise, and need no gradient: a caller that trains
//! decides what is trained.
//!
//! ```
//! use gpt2_model::{Gpt2, Gpt2Classifier, Gpt2Config, Pooling};
//! use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
//! use tch::{Device, Tensor};
//!
//! let config = Gpt2Config::from_json(
//!     r#"{"vocab_size": 100, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}"#,
//! )?;
//! let body = Gpt2::random(&config, 123, Device::Cpu)?;
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(123);
//! let model = Gpt2Classifier::new(body, 3, &mut rng)?;
//!
//! let ids = Tensor::from_slice(&[5i64, 6, 7, 8, 9, 0]).view([2, 3]);
//! let lengths = Tensor::from_slice(&[3i64, 2]);
//! let logits = model.forward(&ids, &lengths, Pooling::LastToken)?;
//! assert_eq!(logits.size(), [2, 3]); // [batch, classes]
//! # Ok::<(), gpt2_model::Error>(())
//! ```

mod arithmetic;
mod attention;
mod block;
mod checkpoint;
mod classifier;
mod config;
mod device;
mod dtype;
mod error;
mod fingerprint;
mod finite;
mod generate;
mod init;
mod labels;
mod linear;
mod model;
mod norm;
mod packed;
mod plain;
mod product;
mod save;
mod settings_file;
mod tree;
mod variants;
mod weights;
mod wording;

pub use arithmetic::Arithmetic;
pub use classifier::{Gpt2Classifier, Pooling};
pub use config::{Activation, Gpt2Config};
pub use device::{DeviceChoice, resolve_device, upload};
pub use dtype::DType;
pub use error::{Error, Result};
pub use fingerprint::Fingerprint;
pub use finite::is_finite;
pub use generate::{GenerateConfig, Sampling, generate};
pub use labels::labels_of;
pub use linear::{Linear, LinearLayer, LinearSlot};
pub use model::{Gpt2, KeyValueCache};
pub use packed::PackedRows;
pub use plain::plain;
pub use save::{StorageType, tensor_bytes};
pub use settings_file::{read_settings, read_settings_text};
pub use tree::{TreeLine, format_tree};
pub use wording::{WITH_LESS_MEMORY, short_message};
