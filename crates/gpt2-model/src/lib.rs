//! GPT-2 on libtorch: the model of Radford et al. 2019, *Language Models are
//! Unsupervised Multitask Learners*, in any size, read from the two files of the Hugging
//! Face hub (`config.json`, `model.safetensors`).
//!
//! * [`Gpt2`] is the body: token ids in, hidden states out.
//! * [`generate()`] continues a text with the tied language-model head.
//! * [`Gpt2Classifier`] puts a classification head on the body.
//! * [`Gpt2Classifier::visit_linears`] passes every linear layer by name, to be read or
//!   replaced. Methods that change linear layers, such as LoRA, build on it.
//!
//! All weights are computed in float32, whatever the file holds, unless
//! [`Gpt2::with_dtype`] converts them, and are frozen: a caller that trains decides which
//! parameters require gradients.
//!
//! Errors: every function that computes returns [`Error::Torch`] or
//! [`Error::OutOfMemory`] if libtorch fails; `# Errors` sections list the other errors.
//!
//! ```
//! use gpt2_model::{Gpt2, Gpt2Classifier, Pooling};
//! use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
//! use tch::{Device, Tensor};
//!
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(123);
//! let model = Gpt2::load("../../weights/pocket", Device::Cpu)?;
//! let classifier = Gpt2Classifier::new(model, 2, &mut rng)?;
//!
//! let ids = Tensor::from_slice(&[40i64, 561, 588, 284, 1492, 0]).view([2, 3]);
//! let lengths = Tensor::from_slice(&[3i64, 2]);
//! let logits = classifier.forward(&ids, &lengths, Pooling::LastToken)?;
//! assert_eq!(logits.size(), [2, 2]); // [batch, classes]
//! # Ok::<(), gpt2_model::Error>(())
//! ```

mod classifier;
mod config;
mod device;
mod dtype;
mod engine;
mod error;
mod generate;
mod model;
pub mod tensor;
mod weights;

pub use classifier::{Gpt2Classifier, Pooling};
pub use config::{Activation, Gpt2Config};
pub use device::{DeviceChoice, resolve_device};
pub use dtype::DType;
pub use engine::Unsupported;
pub use error::{Error, Result};
pub use generate::{GenerateConfig, Sampling, generate};
pub use model::{
    arithmetic::Arithmetic,
    gpt2::Gpt2,
    kv_cache::KeyValueCache,
    linear::{Linear, LinearLayer, LinearSlot, LowRankLayer, LowRankTerm},
    module_tree::{TreeLine, format_tree},
    packed::PackedRows,
};
pub use weights::labels::labels_of;
