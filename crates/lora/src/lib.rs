//! Low-rank adaptation (LoRA; Hu et al. 2021, *LoRA: Low-Rank Adaptation of
//! Large Language Models*) for the linear layers of any `tch` model.
//!
//! A frozen layer `y = x Wᵀ + b` becomes `y = x Wᵀ + b + s · (x Aᵀ) Bᵀ` with `A`
//! `[rank, in]` and `B` `[out, rank]`, which alone are trained. `B` starts at
//! zero, so that the adapted model starts as the model it adapts.
//!
//! * [`LoraConfig`] says which layers, which rank and which [`Scaling`], and
//!   whether there is dropout, DoRA or PiSSA ([`Init`]).
//! * [`Injector`] turns one linear layer after the other into a [`LoraLinear`].
//! * [`Adapter`] is what came of it: all `A` and `B` by name, to be optimised,
//!   counted, saved and loaded ([`AdapterState`]).
//! * [`peft`] reads and writes the folders of Hugging Face PEFT.
//!
//! ```
//! use lora::{Injector, LoraConfig, Scaling, Targets, freeze};
//! use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
//! use tch::{Device, Kind, Tensor, nn, nn::Module};
//!
//! // A model that knows nothing of LoRA.
//! let vs = nn::VarStore::new(Device::Cpu);
//! let fc1 = nn::linear(vs.root() / "fc1", 8, 16, Default::default());
//! let fc2 = nn::linear(vs.root() / "fc2", 16, 2, Default::default());
//! let x = Tensor::ones([4, 8], (Kind::Float, Device::Cpu));
//! let before = fc2.forward(&fc1.forward(&x).relu());
//!
//! freeze(vs.trainable_variables())?;
//! let config = LoraConfig {
//!     rank: 4,
//!     alpha: 8.0,
//!     scaling: Scaling::AlphaOverRank,
//!     targets: Targets::AllLinear,
//!     ..LoraConfig::default()
//! };
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
//! let mut injector = Injector::new(config, &mut rng)?;
//! let fc1 = injector.adapt("fc1", &[], &fc1.ws, fc1.bs.as_ref())?.expect("all are targets");
//! let fc2 = injector.adapt("fc2", &[], &fc2.ws, fc2.bs.as_ref())?.expect("all are targets");
//! let adapter = injector.finish()?;
//!
//! // Nothing has changed yet, and only A and B will be trained.
//! let after = fc2.forward(&fc1.forward(&x).relu());
//! assert!(before.allclose(&after, 1e-6, 1e-6, false));
//! assert_eq!(adapter.parameter_count(), 4 * (8 + 16) + 4 * (16 + 2));
//! # Ok::<(), lora::Error>(())
//! ```

mod adapter;
mod config;
mod dropout;
mod error;
mod freeze;
mod inject;
mod linear;
mod magnitude;
mod part;
pub mod peft;
mod pissa;
#[path = "../../gpt2-model/src/plain.rs"]
mod plain;
mod select;
#[path = "../../gpt2-model/src/settings_file.rs"]
mod settings_file;
mod state;
mod tensors;
#[path = "../../gpt2-model/src/wording.rs"]
mod wording;

pub use adapter::{Adapter, AdapterLayer, ParameterKind};
pub use config::{Init, LoraConfig, Scaling, Targets};
pub use error::{Error, Result};
pub use freeze::{ParameterCount, freeze};
pub use inject::Injector;
pub use linear::LoraLinear;
pub use state::{AdapterState, CONFIG_FILE, WEIGHTS_FILE};
