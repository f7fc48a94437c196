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

mod adamw;
mod adapt;
mod adapter_set;
mod args;
mod bar;
mod best;
mod checkpoint;
mod claim;
mod class_weights;
pub mod classification;
mod classify_table;
mod command;
mod config;
mod config_file;
mod console;
mod counter;
mod curves;
mod error;
mod evaluate;
mod evaluation;
mod events;
mod export;
mod files;
mod fit;
mod head_bias;
pub mod html;
mod loaders;
mod loss_scale;
mod losses;
mod memory;
mod observer;
mod pairs;
pub mod places;
mod plots;
mod predict;
pub mod pretrain;
mod process;
mod program;
mod recorder;
mod repeat;
mod report;
mod resolve;
mod restore;
mod rows;
mod run;
mod run_folder;
mod schedule;
mod seeds;
mod state_file;
mod step;
mod suggested;
pub mod tensorboard;
mod trained;

pub use adamw::{AdamW, AdamWConfig, Treatment};
pub use adapt::{PEFT_PREFIX, Unmerged, adapt, merge, peft_layers, unadapt};
pub use adapter_set::AdapterSet;
pub use args::TrainArgs;
pub use best::{Best, Keep};
pub use checkpoint::{LastCheckpoint, last_checkpoint};
pub use class_weights::ClassWeights;
pub use classification::Mistake;
pub use classify_table::{classify_lines, classify_table};
pub use command::{TRAIN_EXAMPLES, train};
pub use config::{FitConfig, PadTo, Recipe, RunConfig, recipe_adamw, recipe_lora};
pub use console::{Console, ShowModel};
pub use counter::Counter;
pub use error::{Error, Result};
pub use evaluate::{Evaluator, Prediction, accuracy};
pub use evaluation::{Evaluation, evaluate};
pub use events::Event;
pub use export::{Exported, export_peft, write_merged};
pub use fit::{Fitted, fit};
pub use head_bias::{bias_from_norm, bias_into_norm};
pub use loaders::{Accuracies, Loaders, Parts};
pub use memory::Memory;
pub use observer::Observer;
pub use plots::PlotError;
pub use predict::{AdapterUse, Classified, Predictor};
pub use process::prepare_process;
pub use program::program;
pub use report::{EpochAccuracy, PartSizes, Report, grouped};
pub use run::{Control, run, run_with};
pub use schedule::{Decay, Schedule};
pub use seeds::{SeedsReport, run_seeds};
pub use step::{StepConfig, Stepper};
pub use suggested::{SUGGESTED_FILE, Suggested};
pub use trained::{Head, Trained};
