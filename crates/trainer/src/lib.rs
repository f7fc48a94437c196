//! LoRA fine-tuning of GPT-2: joins [`dataset`], [`gpt2_model`] and [`lora`] into training runs.
//!
//! # A run from files
//!
//! [`Run`] reads labeled text, fine-tunes an adapter, and writes it with metrics, plots and a
//! report; [`Predictor`] classifies with it:
//!
//! ```no_run
//! use trainer::{Console, Predictor, Run};
//!
//! let report = Run::new("gpt2", "spam.csv").epochs(3).out("runs/spam").train(&mut Console::default())?;
//! println!("{}", report.to_table());
//! for answer in Predictor::load("runs/spam/adapter")?.classify(["WIN a prize", "see you at six"])? {
//!     println!("{answer:?}");
//! }
//! # Ok::<(), trainer::Error>(())
//! ```
//!
//! # Main types
//!
//! | Type or function | Purpose |
//! |---|---|
//! | [`Run`], [`Settings`], [`ResolvedRun`] | Settings of a run: builder, all options, resolved options and paths |
//! | [`run()`], [`run_seeds()`], [`dry_run()`] | A run, a run per seed, an estimate without a run |
//! | [`Report`] | Settings and results of a run (`report.json`) |
//! | [`Observer`], [`Event`], [`Console`] | Progress of a run: trait, events, output on a terminal |
//! | [`fit()`], [`Fit`], [`Stepper`] | Training loop and single optimizer steps |
//! | [`Task`], [`ClassificationTask`] | Batches, loss and evaluation of a task |
//! | [`Trainable`], [`Train`], [`adapt()`] | Trainable parameters: adapters, head, last block, or all |
//! | [`Predictor`], [`AdapterSet`] | Classification with one adapter, or several on one base model |
//! | [`inference`], [`metrics`], [`reports`] | Saving, merging, evaluating, scoring tables; metrics; HTML, plots, TensorBoard |
//! | [`TrainArgs`], [`train()`], [`process::run_main`] | The train command as a library |
//! | [`Error`] | Errors, with a nested type per topic; [`remedy()`] adds the command-line option |
//!
//! Tasks ([`Task`]) and sets of trainable parameters ([`Train`]) are independent: one loop trains
//! every combination.
//!
//! # A training loop on your own data
//!
//! ```
//! use dataset::{LabeledText, SplitConfig, Tokenizer, TorchRng};
//! use gpt2_model::{Gpt2, Gpt2Classifier, Gpt2Config, Pooling};
//! use lora::{Injector, LoraConfig};
//! use tch::Device;
//! use trainer::{
//!     ClassificationTask, Evaluator, Event, Fit, Loaders, Trainable, TrainingSettings, adapt, fit,
//! };
//!
//! // A small random model; `Gpt2::load` loads a pretrained one.
//! let config = Gpt2Config::from_json(
//!     r#"{"vocab_size": 50257, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}"#,
//! )?;
//! let mut rng = TorchRng::manual_seed(123);
//! let mut model = Gpt2Classifier::new(Gpt2::random(&config, 1, Device::Cpu)?, 2, &mut rng)?;
//!
//! // Labeled text.
//! # let directory = tempfile::tempdir().unwrap();
//! # let file = directory.path().join("messages.tsv");
//! # std::fs::write(&file, "ham\tsee you at home\nspam\twin a prize now\n".repeat(20)).unwrap();
//! let text = LabeledText::open(&file)?.read()?;
//! let splits = text.split(&SplitConfig::default())?.tokenize(&Tokenizer::gpt2())?;
//!
//! // Trainable parameters: only the adapter.
//! let adapter = adapt(&mut model, Injector::new(LoraConfig::new(16), &mut rng)?)?;
//! let trainable = Trainable::adapter_only(adapter, 1.0);
//! let settings = TrainingSettings { epochs: 20.0, lr: 0.01, ..TrainingSettings::default() };
//! let evaluator = Evaluator::new(&model, Pooling::LastToken);
//! let loaders = Loaders::new(&splits, &settings)?;
//! let task = ClassificationTask::new(evaluator, loaders, &settings, None)?;
//! let mut accuracies = Vec::new();
//! let machine = &Default::default();
//! let group = &distributed::Group::alone();
//! let training = Fit { task: &task, trainable: &trainable, settings: &settings, machine, group };
//! fit(&training, &mut rng, &mut |event| {
//!     if let Event::Epoch { validation_accuracy, .. } = event {
//!         accuracies.push(validation_accuracy);
//!     }
//!     Ok(())
//! })?;
//! assert_eq!(accuracies.last(), Some(&1.0));
//! # Ok::<(), trainer::Error>(())
//! ```

pub mod config;
mod error;
pub mod inference;
mod label_list;
pub mod metrics;
pub mod process;
pub mod reports;
pub mod run;
pub mod task;
pub mod terminal;
pub mod trainable;
pub mod training;
mod vocabulary;

pub use config::{
    AdapterSettings, PretrainArgs, ResolvedRun, Settings, TrainArgs, TrainingSettings,
};
pub use error::{Error, Result};
pub use inference::{AdapterSet, Generator, Predictor};
pub use reports::Report;
pub use run::{Control, Run, dry_run, run, run_seeds};
pub use task::{ClassificationTask, Evaluator, Loaders, Objective, Task, TaskKind};
pub use terminal::{Console, remedy, train};
pub use trainable::{Head, Train, Trainable, adapt};
pub use training::{AdamWConfig, Event, Fit, Observer, StepConfig, Stepper, fit};
