//! GPT-2 on libtorch: the model of Radford et al. 2019, *Language Models are
//! Unsupervised Multitask Learners*, in any size, read from the two files of the Hugging
//! Face hub (`config.json`, `model.safetensors`).
//!
//! Weights are converted to float32, or to another type with [`Gpt2::with_dtype`], and are frozen: a
//! caller that trains decides which parameters require gradients.
//!
//! # Main types
//!
//! | Type or function | Purpose |
//! |---|---|
//! | [`Gpt2`], [`Gpt2Config`] | Transformer without a head: token ids in, hidden states out |
//! | [`Gpt2Classifier`], [`Pooling`] | Classification head on the hidden state of one token |
//! | [`Gpt2Classifier::visit_linears`], [`LinearLayer`], [`LinearSlot`] | Access to every linear layer by name, to read or replace it, as LoRA does |
//! | [`PackedRows`] | A batch without padding: concatenated sequences |
//! | [`generate()`], [`generate_batch`], [`GenerateConfig`] | Text generation with the language-model head |
//! | [`Arithmetic`], [`DType`], [`DeviceChoice`] | Fused or stepwise operations, data type, CPU or CUDA |
//! | [`format_tree`] | Modules, shapes and parameter counts as text |
//! | [`Error`] | Unusable file, argument or failure of libtorch |
//!
//! Every function that computes returns [`Error::Torch`] or [`Error::OutOfMemory`] if libtorch
//! fails; `# Errors` sections list the other errors.
//!
//! # Example
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
mod device;
mod dtype;
mod engine;
mod error;
mod generation;
mod model;
pub mod tensor;
mod weights;

pub use classifier::{Gpt2Classifier, Pooling};
pub use device::{DeviceChoice, resolve_device};
pub use dtype::DType;
pub use engine::{Cost, FrozenHead, KernelProfile, Unsupported};
pub use error::{ArgumentError, ConfigProblem, Error, FormatProblem, Result, TensorProblem};
pub use generation::{
    FinishReason, GenerateConfig, Generated, Prompt, RandomSampling, Sampling, check_prompt,
    generate, generate_batch,
};
pub use gpt2_config::{Activation, Gpt2Config};
pub use model::{
    arithmetic::Arithmetic,
    gpt2::Gpt2,
    linear::{Linear, LinearLayer, LinearSlot, LowRankLayer, LowRankTerm},
    module_tree::{TreeLine, format_tree},
    packed::PackedRows,
};
pub use weights::labels::labels_of;
