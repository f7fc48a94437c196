//! Settings of a run: options, files of settings, defaults and paths.

pub(crate) mod error;
pub(crate) mod layers;
pub(crate) mod options;
pub mod paths;
pub(crate) mod patterns;
pub(crate) mod recipe;
pub(crate) mod resolve;
pub(crate) mod settings;

pub use error::{Conflict, EntryError, NotFoundError, Range, SettingsError};
pub use layers::MODEL_DEFAULTS_FILE;
pub use options::{GivenSettings, MAX_TIMEOUT, PretrainArgs, TrainArgs};
pub use recipe::{Preset, Recipe};
pub use resolve::{MAX_THREADS, ResolvedRun, check_batch_size};
pub use settings::{
    AdapterSettings, Balance, DataSettings, MachineSettings, OnLongText, OutputSettings, PadTo,
    Settings, TrainingSettings,
};
