//! Layers of settings: defaults, recipe, the model's `fine_tuning.json`, preset of the command,
//! file of settings, command line. Each is a map by option name; later layers override earlier
//! ones.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{
    config::{
        error::{Conflict, EntryError, SettingsError},
        recipe::{Preset, Recipe},
        settings::Settings,
    },
    error::{Error, Result},
    task::kind::TaskKind,
    trainable::parameters::Train,
    training::schedule::Decay,
};

/// Name of the file of a run that has all its settings.
pub(crate) const RESOLVED_FILE: &str = "run.toml";

/// File in the directory of a model with settings that suit it. A learning rate that suits
/// GPT-2 124M is far too low for a model a tenth as large.
pub const MODEL_DEFAULTS_FILE: &str = "fine_tuning.json";

/// Settings that the file may contain.
const MODEL_DEFAULTS: [&str; 10] = [
    "rank",
    "alpha",
    "scaling",
    "lr",
    "schedule",
    "warmup-steps",
    "weight-decay",
    "epochs",
    "batch-size",
    "pooling",
];

/// Settings by option name.
pub(crate) type Layer = Map<String, Value>;

/// Formats settings as the text of a TOML file.
pub(crate) fn to_toml(layer: &Layer) -> Result<String> {
    toml::to_string(layer).map_err(|error| Error::serialize("settings", &error))
}

impl Settings {
    /// These settings by option name, without unset ones.
    pub(crate) fn to_layer(&self) -> Result<Layer> {
        let value =
            serde_json::to_value(self).map_err(|error| Error::serialize("settings", &error))?;
        let Value::Object(mut layer) = value else { return Ok(Layer::new()) };
        layer.retain(|_, value| match value {
            Value::Null => false,
            Value::Array(values) => !values.is_empty(),
            _ => true,
        });
        Ok(layer)
    }

    /// These settings as the text of a TOML file.
    pub(crate) fn to_toml(&self) -> Result<String> {
        to_toml(&self.to_layer()?)
    }

    /// Reads a TOML file of settings.
    ///
    /// # Errors
    /// [`SettingsError::File`].
    pub(crate) fn read_layer(path: &Path) -> Result<Layer> {
        let text = storage::read_limited_text(path)?;
        let fail =
            |line: usize, problem| SettingsError::File { path: path.to_owned(), line, problem };
        let layer: Layer = toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(start).filter(|&byte| byte == b'\n').count();
            fail(line, EntryError::Syntax(error.message().to_owned()))
        })?;
        for (name, value) in &layer {
            if let Err(problem) = check_entry(name, value) {
                let has_name = |line: &str| {
                    line.trim_start().trim_start_matches('"').starts_with(name.as_str())
                };
                return Err(fail(1 + text.lines().position(has_name).unwrap_or(0), problem).into());
            }
        }
        Ok(layer)
    }

    /// Settings that the model in `directory` suggests for its fine-tuning, and their file.
    ///
    /// # Errors
    /// [`SettingsError::ModelDefaults`]; [`Error::Storage`] if the file cannot be read.
    pub(crate) fn model_layer(directory: &Path) -> Result<Option<(PathBuf, Layer)>> {
        let path = directory.join(MODEL_DEFAULTS_FILE);
        let fail = |problem| SettingsError::ModelDefaults { path: path.clone(), problem };
        let text = match storage::read_limited_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let read: Layer = serde_json::from_str(&text)
            .map_err(|error| fail(EntryError::Syntax(error.to_string())))?;
        let mut layer = Layer::new();
        for (name, value) in read {
            let option = name.replace('_', "-");
            if !MODEL_DEFAULTS.contains(&option.as_str()) {
                return Err(fail(EntryError::Unknown { option: name }).into());
            }
            if !value.is_null() {
                check_entry(&option, &value).map_err(fail)?;
                layer.insert(option, value);
            }
        }
        Ok(Some((path, layer)))
    }

    /// Merges the layers of a run.
    ///
    /// # Errors
    /// [`SettingsError::Entry`] for a value of the wrong type, [`Conflict::SeedAndSeeds`],
    /// [`SettingsError::ContinuedAdapter`].
    pub(crate) fn merged(layers: &Layers) -> Result<Self> {
        let given = layers.given()?;
        let below = layers.below(&given)?;
        layers.check_decided(&given)?;
        from_layer(below.into_iter().chain(given).chain(layers.decided.clone()).collect())
    }

    /// As [`Settings::merged`], once all layers are known.
    ///
    /// # Errors
    /// Also [`SettingsError::NoEffect`].
    pub(crate) fn merged_and_checked(layers: &Layers) -> Result<Self> {
        let settings = Self::merged(layers)?;
        let suggested: Self = from_layer(layers.below(&layers.given()?)?)?;
        settings.check_applicable(&[suggested.to_layer()?, Self::default().to_layer()?])?;
        Ok(settings)
    }

    /// Refuses settings that have no effect, if they differ from all `defaults`.
    fn check_applicable(&self, defaults: &[Layer]) -> Result<()> {
        let layer = self.to_layer()?;
        let given =
            |name: &&str| defaults.iter().all(|defaults| layer.get(*name) != defaults.get(*name));
        let is_lora = self.train == Train::Lora;
        let reads_examples = self.task == TaskKind::LanguageModel && self.data.has_tables();
        for (applies, names, requires) in [
            (self.task == TaskKind::Classify, CLASSIFICATION_ONLY, "--task classify"),
            (self.task == TaskKind::LanguageModel, LANGUAGE_MODEL_ONLY, "--task language-model"),
            (
                self.task == TaskKind::Classify || reads_examples,
                TABLES_ONLY,
                "data in JSONL, CSV, TSV or Parquet",
            ),
            (!reads_examples, PLAIN_TEXT_ONLY, "plain text"),
            (self.training.sample_every.is_some(), SAMPLES_ONLY, "--sample-every"),
            (is_lora, LORA_ONLY, "--train lora"),
            (self.adapter.adapter.is_some(), CONTINUED_ONLY, "--adapter"),
            (!is_lora, BASE_WEIGHTS_ONLY, "--train head, last-block or all"),
            (self.training.schedule != Decay::Constant, DECAY_ONLY, "--schedule linear or cosine"),
        ] {
            if let Some(name) = names.iter().copied().find(given).filter(|_| !applies) {
                return Err(SettingsError::NoEffect { option: name.to_owned(), requires }.into());
            }
        }
        Ok(())
    }
}

/// Settings that only classification has.
const CLASSIFICATION_ONLY: &[&str] = &[
    "test-data",
    "label-column",
    "balance",
    "stratify",
    "quotes",
    "head",
    "labels",
    "class-weights",
    "pooling",
    "pad-to",
    "gradient-checkpointing",
];

/// Settings that only language modeling has.
const LANGUAGE_MODEL_ONLY: &[&str] = &[
    "prompt-column",
    "completion-column",
    "prompt-template",
    "chat-template",
    "loss-on",
    "documents",
    "validation-fraction",
    "softmax-candidates",
    "sample-every",
    "sample-prompt",
];

/// Settings of a language model that only examples in tables have.
const TABLES_ONLY: &[&str] = &[
    "validation-data",
    "separator",
    "quote-char",
    "no-header",
    "encoding",
    "on-long-text",
    "text-column",
    "prompt-column",
    "completion-column",
    "prompt-template",
    "chat-template",
    "loss-on",
];

/// Settings of a language model that only plain text has.
const PLAIN_TEXT_ONLY: &[&str] = &["documents"];

/// Settings that only generated texts have.
const SAMPLES_ONLY: &[&str] = &["sample-prompt"];

/// Settings that only adapters have.
const LORA_ONLY: &[&str] = &[
    "adapter",
    "rank",
    "alpha",
    "scaling",
    "target-modules",
    "rank-pattern",
    "alpha-pattern",
    "lora-dropout",
    "dora",
    "init",
    "head",
    "lora-plus-ratio",
];

/// Settings that only a continued adapter has.
const CONTINUED_ONLY: &[&str] = &["labels"];

/// Settings that only training of base weights has.
const BASE_WEIGHTS_ONLY: &[&str] = &["weight-decay-on", "save-dtype"];

/// Settings that only a decaying learning rate has.
const DECAY_ONLY: &[&str] = &["min-lr-ratio"];

/// The layers of the settings of a run, above the declared defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    /// The command.
    pub preset: Preset,
    /// The model's `fine_tuning.json`.
    pub model: Layer,
    /// Settings that a continued adapter suggests.
    pub suggested: Layer,
    /// The file of settings.
    pub file: Layer,
    /// The command line.
    pub command_line: Layer,
    /// Settings that a continued adapter decides.
    pub decided: Layer,
}

impl Layers {
    /// Settings of the user: the file, overridden by the command line.
    pub fn given(&self) -> Result<Layer> {
        let mut given = self.file.clone();
        // An option on the command line replaces its alternative in the file.
        for (one, other) in [("seed", "seeds"), ("seeds", "seed"), ("epochs", "steps")] {
            if self.command_line.contains_key(one) {
                given.remove(other);
            }
        }
        if given.contains_key("seed") && given.contains_key("seeds") {
            return Err(SettingsError::from(Conflict::SeedAndSeeds).into());
        }
        given.extend(self.command_line.clone());
        Ok(given)
    }

    /// The layers below the settings of the user.
    fn below(&self, given: &Layer) -> Result<Layer> {
        let recipe = match given.get("recipe") {
            None => Recipe::default(),
            Some(recipe) => serde_json::from_value(recipe.clone()).map_err(|error| {
                let (option, reason) = ("recipe".to_owned(), error.to_string());
                SettingsError::Entry(EntryError::Invalid { option, reason })
            })?,
        };
        let mut below = recipe.settings();
        if recipe == Recipe::Default && self.preset == Preset::Train {
            below.extend(self.model.clone());
        }
        below.extend(self.preset.settings());
        below.extend(self.suggested.clone());
        Ok(below)
    }

    /// Refuses settings that differ from the continued adapter.
    fn check_decided(&self, given: &Layer) -> Result<()> {
        let normalized = |name: &str, value: &Value| -> Result<Option<Value>> {
            let alone = Layer::from_iter([(name.to_owned(), value.clone())]);
            Ok(from_layer(alone)?.to_layer()?.remove(name))
        };
        for (name, decided) in &self.decided {
            if let Some(given) = given.get(name)
                && normalized(name, given)? != normalized(name, decided)?
            {
                return Err(SettingsError::ContinuedAdapter {
                    option: name.clone(),
                    expected: decided.to_string(),
                    value: given.to_string(),
                }
                .into());
            }
        }
        Ok(())
    }
}

fn from_layer(layer: Layer) -> Result<Settings> {
    serde_json::from_value(Value::Object(layer.clone())).map_err(|error| {
        // The entry at fault, if it is one.
        let found = layer.iter().find_map(|(name, value)| check_entry(name, value).err());
        SettingsError::Entry(found.unwrap_or(EntryError::Syntax(error.to_string()))).into()
    })
}

/// Checks the name and the type of a setting.
fn check_entry(name: &str, value: &Value) -> Result<(), EntryError> {
    let option = name.to_owned();
    let all = serde_json::to_value(Settings::default())
        .map_err(|error| EntryError::Syntax(error.to_string()))?;
    if all.get(name).is_none() {
        return Err(EntryError::Unknown { option });
    }
    // JSON has no NaN and no infinity.
    if value.is_null() {
        return Err(EntryError::NotFinite { option });
    }
    if value.as_array().is_some_and(Vec::is_empty) {
        return Err(EntryError::Empty { option });
    }
    let alone = Layer::from_iter([(option.clone(), value.clone())]);
    match serde_json::from_value::<Settings>(Value::Object(alone)) {
        Ok(_) => Ok(()),
        Err(error) => Err(EntryError::Invalid { option, reason: error.to_string() }),
    }
}
