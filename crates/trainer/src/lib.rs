//! LoRA fine-tuning of GPT-2: joins [`dataset`], [`gpt2_model`] and [`lora`] into
//! a training run.
//!
//! * [`fit()`] is the training loop, for programs that bring their own data.
//! * [`run()`] is a whole run, from files to a folder of results ([`RunConfig`],
//!   [`Report`]); an [`Observer`] sees it happen.
//! * [`AdapterSet`] has several adapters on one base; [`export_peft`] and
//!   [`write_merged`] take them to the Python world.
//! * [`Predictor`] classifies texts with the adapter that came of it,
//!   [`classify_table`] tables of any size; [`evaluate()`] measures how well.
//! * [`train()`] is that run as a command, with [`TrainArgs`] for options.
//! * [`pretrain`] makes a base model from plain text.
//! * [`classification`] measures a classifier, [`html`] makes a page of that, and
//!   [`tensorboard`] lets a run be watched.
//!
//! ```
//! use dataset::{Encoded, Example, Tokenizer, TorchRng};
//! use gpt2_model::{Gpt2, Gpt2Classifier, Gpt2Config};
//! use lora::{Injector, LoraConfig};
//! use tch::Device;
//! use trainer::{AdamWConfig, Event, FitConfig, Loaders, Parts, adapt, fit};
//!
//! // A model; `Gpt2::load` would read a real one.
//! let config = Gpt2Config::from_json(
//!     r#"{"vocab_size": 50257, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}"#,
//! )?;
//! let mut rng = TorchRng::manual_seed(123);
//! let mut model = Gpt2Classifier::new(Gpt2::random(&config, 1, Device::Cpu)?, 2, &mut rng)?;
//!
//! // Labelled text.
//! let rows: Vec<Example> = (0..32)
//!     .map(|row| Example {
//!         label: row % 2,
//!         text: ["see you at home", "win a prize now"][row % 2].to_owned(),
//!         row,
//!     })
//!     .collect();
//! let encode = |rows: &[Example]| Encoded::new(rows, &Tokenizer::gpt2(), Some(16));
//! let parts = Parts {
//!     train: encode(&rows[..16]),
//!     validation: encode(&rows[16..24]),
//!     test: encode(&rows[24..]),
//!     max_length: 16,
//! };
//!
//! // Only the adapter is trained.
//! let trained = adapt(&mut model, Injector::new(LoraConfig::default(), &mut rng)?)?.into();
//! let settings = FitConfig { epochs: 20, ..FitConfig::default() };
//! let loaders = Loaders::new(&parts, &settings)?;
//! let adamw = AdamWConfig { lr: 0.01, ..AdamWConfig::default() };
//! let mut accuracies = Vec::new();
//! fit(&model, &trained, &loaders, &settings, adamw, None, &mut rng, &mut |event| {
//!     if let Event::Epoch { validation_accuracy, .. } = event {
//!         accuracies.push(validation_accuracy);
//!     }
//!     Ok(())
//! })?;
//! assert_eq!(accuracies.last(), Some(&1.0));
//! # Ok::<(), trainer::Error>(())
//! ```

mod config;
mod error;
mod inference;
pub mod metrics;
pub mod pretrain;
mod process;
mod reports;
mod run;
mod task;
mod terminal;
mod trainable;
mod training;

pub use config::args::TrainArgs;
pub use config::model_defaults::{SUGGESTED_FILE, Suggested};
pub use config::paths as places;
pub use config::settings::{FitConfig, PadTo, Recipe, RunConfig, recipe_adamw, recipe_lora};
pub use error::{Error, Result};
pub use inference::adapter_set::AdapterSet;
pub use inference::evaluation::{Evaluation, evaluate};
pub use inference::export::{Exported, export_peft, write_merged};
pub use inference::head_bias::{bias_from_norm, bias_into_norm};
pub use inference::predictor::{AdapterUse, Classified, Predictor};
pub use inference::table::{classify_lines, classify_table};
pub use metrics::Mistake;
pub use process::memory::Memory;
pub use process::program::program;
pub use process::settings::prepare_process;
pub use reports::plots::PlotError;
pub use reports::run_report::{EpochAccuracy, PartSizes, Report, grouped};
pub use reports::{html, tensorboard};
pub use run::phases::{Control, run, run_with};
pub use run::seeds::{SeedsReport, run_seeds};
pub use task::class_weights::ClassWeights;
pub use task::evaluator::{Evaluator, Prediction, accuracy};
pub use task::loaders::{Accuracies, Loaders, Parts};
pub use terminal::console::{Console, ShowModel};
pub use terminal::row_counter::Counter;
pub use terminal::train_command::{TRAIN_EXAMPLES, train};
pub use trainable::adapters::{PEFT_PREFIX, Unmerged, adapt, merge, peft_layers, unadapt};
pub use trainable::parameters::{Head, Trained};
pub use training::adamw::{AdamW, AdamWConfig, Treatment};
pub use training::checkpoint::{LastCheckpoint, last_checkpoint};
pub use training::early_stopping::{Best, Keep};
pub use training::event::Event;
pub use training::fit::{Fitted, fit};
pub use training::observer::Observer;
pub use training::schedule::{Decay, Schedule};
pub use training::step::{StepConfig, Stepper};
