//! Layers of settings: defaults, the preset of the command, the recipe, the model's
//! `fine_tuning.json`, a file of settings, the command line. Each is a map by option name; a
//! later one wins.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{
    config::{
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

/// What such a file may set.
const MODEL_DEFAULTS: [&str; 8] =
    ["rank", "alpha", "scaling", "lr", "weight-decay", "epochs", "batch-size", "pooling"];

/// Settings by option name.
pub(crate) type Layer = Map<String, Value>;

impl Settings {
    /// These settings by option name, without those that are not set.
    pub(crate) fn to_layer(&self) -> Result<Layer> {
        let value = serde_json::to_value(self)
            .map_err(|error| Error::Config(format!("the settings cannot be stored: {error}")))?;
        let Value::Object(mut layer) = value else { return Ok(Layer::new()) };
        layer.retain(|_, value| match value {
            Value::Null => false,
            Value::Array(values) => !values.is_empty(),
            _ => true,
        });
        Ok(layer)
    }

    /// The settings as the text of a TOML file.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string(&self.to_layer()?)
            .map_err(|error| Error::Config(format!("the settings cannot be written: {error}")))
    }

    /// Reads a TOML file of settings.
    ///
    /// # Errors
    /// [`Error::Config`] names the file, the line and what is wrong.
    pub(crate) fn read_layer(path: &Path) -> Result<Layer> {
        let text = storage::read_limited_text(path)?;
        let fail = |line: usize, reason: &str| {
            Error::Config(format!(
                "{}, line {line}: {reason}; train --help lists the options",
                path.display()
            ))
        };
        let layer: Layer = toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            fail(
                1 + text.bytes().take(start).filter(|&byte| byte == b'\n').count(),
                error.message(),
            )
        })?;
        for (name, value) in &layer {
            if let Err(reason) = check_entry(name, value) {
                let names_it = |line: &str| {
                    line.trim_start().trim_start_matches('"').starts_with(name.as_str())
                };
                return Err(fail(1 + text.lines().position(names_it).unwrap_or(0), &reason));
            }
        }
        Ok(layer)
    }

    /// The settings that the model in `directory` suggests for its fine-tuning, and the file
    /// that holds them.
    ///
    /// # Errors
    /// [`Error::Config`] names a file that cannot be read.
    pub(crate) fn model_layer(directory: &Path) -> Result<Option<(PathBuf, Layer)>> {
        let path = directory.join(MODEL_DEFAULTS_FILE);
        let fail = |reason: String| {
            Error::Config(format!(
                "{} does not hold settings for fine-tuning: {reason}; correct it or remove it",
                path.display()
            ))
        };
        let text = match storage::read_limited_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let read: Layer = serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
        let mut layer = Layer::new();
        for (name, value) in read {
            let option = name.replace('_', "-");
            if !MODEL_DEFAULTS.contains(&option.as_str()) {
                return Err(fail(format!("unknown field `{name}`")));
            }
            if !value.is_null() {
                check_entry(&option, &value).map_err(fail)?;
                layer.insert(option, value);
            }
        }
        Ok(Some((path, layer)))
    }

    /// The settings of a run from its layers.
    ///
    /// # Errors
    /// [`Error::Config`] for a value of the wrong type.
    pub(crate) fn merged(layers: &Layers) -> Result<Self> {
        let given = layers.given()?;
        let below = layers.below(&given)?;
        layers.check_decided(&given)?;
        from_layer(below.into_iter().chain(given).chain(layers.decided.clone()).collect())
    }

    /// As [`Settings::merged`], with all layers there.
    ///
    /// # Errors
    /// [`Error::Config`] also for settings that do not apply to the task or to what is
    /// trained.
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
        for (applies, names, needs) in [
            (self.task == TaskKind::Classify, CLASSIFICATION_ONLY, "--task classify"),
            (self.task == TaskKind::LanguageModel, LANGUAGE_MODEL_ONLY, "--task language-model"),
            (is_lora, LORA_ONLY, "--train lora"),
            (!is_lora, BASE_WEIGHTS_ONLY, "--train head, last-block or all"),
            (self.training.schedule != Decay::Constant, DECAY_ONLY, "--schedule linear or cosine"),
        ] {
            if let Some(name) = names.iter().copied().find(given).filter(|_| !applies) {
                let sentence = format!("{name} has no effect here; it needs {needs}");
                return Err(Error::Config(sentence));
            }
        }
        Ok(())
    }
}

/// Settings that only classification has.
const CLASSIFICATION_ONLY: &[&str] = &[
    "validation-data",
    "test-data",
    "format",
    "text-column",
    "label-column",
    "balance",
    "stratify",
    "quotes",
    "head",
    "class-weights",
    "pooling",
    "pad-to",
    "gradient-checkpointing",
];

/// Settings that only language modeling has.
const LANGUAGE_MODEL_ONLY: &[&str] =
    &["documents", "validation-fraction", "softmax-candidates", "sample-every"];

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
    /// Settings that suit the adapter that is continued.
    pub suggested: Layer,
    /// The file of settings.
    pub file: Layer,
    /// The command line.
    pub command_line: Layer,
    /// Settings that the adapter decides that is continued.
    pub decided: Layer,
}

impl Layers {
    /// What the user gives: the file and, above it, the command line.
    pub fn given(&self) -> Result<Layer> {
        let mut given = self.file.clone();
        // An alternative on the command line replaces the other one in the file.
        for (one, other) in [("seed", "seeds"), ("seeds", "seed"), ("epochs", "steps")] {
            if self.command_line.contains_key(one) {
                given.remove(other);
            }
        }
        if given.contains_key("seed") && given.contains_key("seeds") {
            return Err(Error::Config(
                "seed and seeds are both given; leave one of them out".to_owned(),
            ));
        }
        given.extend(self.command_line.clone());
        Ok(given)
    }

    /// The layers below what the user gives.
    fn below(&self, given: &Layer) -> Result<Layer> {
        let recipe = match given.get("recipe") {
            None => Recipe::default(),
            Some(recipe) => serde_json::from_value(recipe.clone())
                .map_err(|error| Error::Config(format!("recipe: {error}")))?,
        };
        let mut below = recipe.settings();
        if recipe == Recipe::Default && self.preset == Preset::Train {
            below.extend(self.model.clone());
        }
        below.extend(self.preset.settings());
        below.extend(self.suggested.clone());
        Ok(below)
    }

    /// Refuses settings that differ from what the continued adapter decides.
    fn check_decided(&self, given: &Layer) -> Result<()> {
        let normal = |name: &str, value: &Value| -> Result<Option<Value>> {
            let alone = Layer::from_iter([(name.to_owned(), value.clone())]);
            Ok(from_layer(alone)?.to_layer()?.remove(name))
        };
        for (name, decided) in &self.decided {
            if let Some(given) = given.get(name)
                && normal(name, given)? != normal(name, decided)?
            {
                return Err(Error::Config(format!(
                    "{name} is {given}, but the adapter that is continued has {decided}; leave it out"
                )));
            }
        }
        Ok(())
    }
}

fn from_layer(layer: Layer) -> Result<Settings> {
    serde_json::from_value(Value::Object(layer))
        .map_err(|error| Error::Config(format!("the settings cannot be used: {error}")))
}

/// Whether a setting of this name takes this value.
fn check_entry(name: &str, value: &Value) -> Result<(), String> {
    let all = serde_json::to_value(Settings::default()).map_err(|error| error.to_string())?;
    if all.get(name).is_none() {
        return Err(format!("unknown option `{name}`"));
    }
    // JSON has no NaN and no infinity.
    if value.is_null() {
        return Err(format!("{name} is not a finite number"));
    }
    if value.as_array().is_some_and(Vec::is_empty) {
        return Err(format!("{name} is empty; leave it out for the default"));
    }
    let alone = Layer::from_iter([(name.to_owned(), value.clone())]);
    let parsed = serde_json::from_value::<Settings>(Value::Object(alone));
    parsed.map(|_| ()).map_err(|error| format!("{name}: {error}"))
}
