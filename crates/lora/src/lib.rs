//! Low-rank adaptation (LoRA; Hu et al. 2021, *LoRA: Low-Rank Adaptation of
//! Large Language Models*) for the linear layers of any `tch` model.
//!
//! A frozen layer `y = x Wᵀ + b` becomes `y = x Wᵀ + b + s · (x Aᵀ) Bᵀ` with `A`
//! `[rank, in]` and `B` `[out, rank]`, the only trainable parameters. `B` starts at
//! zero, so the adapted model starts as the model it adapts.
//!
//! # Main types
//!
//! | Type or function | Purpose |
//! |---|---|
//! | [`LoraConfig`], [`Scaling`], [`Init`], [`Targets`] | Rank, α, target layers, scaling factor, dropout, DoRA, PiSSA |
//! | [`LoraLinear`] | Adapted layer; [`LoraLinear::from_linear`] adapts any `tch` linear layer |
//! | [`Injector`], [`Adapter`] | Adapts the layers of a model by name; all `A` and `B`, to optimize and count |
//! | [`AdapterState`] | Copy of the parameters of an adapter, to save and load |
//! | [`peft`] | Directories in the format of Hugging Face PEFT |
//! | [`freeze`], [`ParameterCount`] | Freezes parameters, counts them |
//! | [`Error`] | Invalid setting, unusable file, or failure of libtorch |
//!
//! Every function that computes returns [`Error::Torch`] if libtorch fails; `# Errors` sections list
//! the other errors.
//!
//! # One layer
//!
//! ```
//! use lora::{LoraConfig, LoraLinear};
//! use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
//! use tch::{Device, Kind, Tensor, nn, nn::{Module, ModuleT}};
//!
//! let vs = nn::VarStore::new(Device::Cpu);
//! let fc1 = nn::linear(vs.root() / "fc1", 8, 16, Default::default());
//! let x = Tensor::ones([4, 8], (Kind::Float, Device::Cpu));
//! let before = fc1.forward(&x);
//!
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
//! let config = LoraConfig::new(8).alpha(16.0).targets(["fc1", "fc2"]);
//! let fc1 = LoraLinear::from_linear(&fc1, &config, &mut rng)?;   // any tch nn::Linear
//! let y = fc1.forward_t(&x, true);                               // `true`: dropout is active
//!
//! assert!(y.allclose(&before, 1e-6, 1e-6, false));
//! y.sum(Kind::Float).backward();
//! assert!(fc1.parameters().all(|parameter| parameter.grad().defined()));
//! assert!(!vs.variables()["fc1.weight"].grad().defined()); // the base is frozen
//! # Ok::<(), lora::Error>(())
//! ```
//!
//! # All target layers of a model
//!
//! ```
//! # use lora::{Injector, LoraConfig};
//! # use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
//! # use tch::{Device, nn};
//! # let vs = nn::VarStore::new(Device::Cpu);
//! # let fc1 = nn::linear(vs.root() / "fc1", 8, 16, Default::default());
//! # let fc2 = nn::linear(vs.root() / "fc2", 16, 2, Default::default());
//! # let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
//! lora::freeze(vs.trainable_variables())?;
//! let mut injector = Injector::new(LoraConfig::new(4).targets(["fc2"]), &mut rng)?;
//! assert!(injector.adapt("fc1", &[], &fc1.ws, fc1.bs.as_ref())?.is_none());
//! let fc2 = injector.adapt("fc2", &[], &fc2.ws, fc2.bs.as_ref())?.expect("it is a target");
//! let adapter = injector.finish()?;
//! assert_eq!(adapter.parameter_count(), 4 * (16 + 2));
//! # assert_eq!(fc2.rank(), 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapter;
mod config;
mod error;
mod layer;
mod parameters;
pub mod peft;
mod tensor_file;

pub use adapter::{Adapter, AdapterLayer, ParameterKind, inject::Injector, state::AdapterState};
pub use config::{Init, LoraConfig, Scaling, Targets};
pub use error::{
    Error, FormatProblem, LayerProblem, PeftSettingsProblem, Result, SettingProblem, TensorProblem,
};
pub use layer::linear::{LoraLinear, LoraTerm};
pub use parameters::{ParameterCount, freeze};
pub use peft::{CONFIG_FILE, WEIGHTS_FILE};
