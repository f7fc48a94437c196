//! The command line of a training run, shared by the binaries.

use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches, parser::ValueSource};
use serde_json::Value;

use crate::{
    config::{
        layers::{Layer, Layers},
        paths,
        recipe::{Preset, Recipe},
        resolve::ResolvedRun,
        settings::Settings,
    },
    error::{Error, Result},
    inference::SavedAdapter,
};

/// Options of the train command: the settings of a run, and how the command goes about it.
#[derive(Args, Clone, Debug, Default)]
pub struct TrainArgs {
    /// TOML file of options under their names here (batch-size = 16). Options on the command
    /// line win, --dora=false for example. Every run writes such a file, run.toml, which
    /// repeats it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The command, which sets defaults.
    #[arg(skip)]
    pub preset: Preset,
    /// The settings that are given.
    #[command(flatten)]
    pub settings: GivenSettings,
    /// Resume from the last checkpoint in --out, if there is one. The results equal those of
    /// an uninterrupted run byte for byte
    #[arg(long, requires = "out", help_heading = "Output")]
    pub resume: bool,
    /// Print the modules of the model that is trained; with --json, to standard error
    #[arg(long, help_heading = "Output")]
    pub print_model: bool,
    /// Print the report as JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// The settings that a command line gives, by option name.
#[derive(Clone, Debug, Default)]
pub struct GivenSettings {
    layer: Layer,
    /// The first value that no file of settings can hold.
    invalid: Option<String>,
}

impl Args for GivenSettings {
    fn augment_args(command: clap::Command) -> clap::Command {
        Settings::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Settings::augment_args_for_update(command)
    }
}

impl FromArgMatches for GivenSettings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let settings = Settings::from_arg_matches(matches)?;
        let not_utf8 = settings.paths().find(|path| path.to_str().is_none());
        let not_utf8 = not_utf8.map(|path| {
            format!(
                "the name {} is not UTF-8 and cannot be stored in a file of settings; rename it",
                path.display()
            )
        });
        let mut layer = match serde_json::to_value(settings) {
            Ok(Value::Object(layer)) => layer,
            _ => Layer::new(),
        };
        layer.retain(|name, _| {
            matches.value_source(&name.replace('-', "_")) == Some(ValueSource::CommandLine)
        });
        // JSON has no NaN and no infinity.
        let not_finite = layer.iter().find(|(_, value)| value.is_null()).map(|(name, _)| {
            let mut values = matches.get_raw(&name.replace('-', "_")).into_iter().flatten();
            let value = values.next().unwrap_or_default().to_string_lossy().into_owned();
            format!("{name} is {value}; expected a finite number")
        });
        Ok(Self { layer, invalid: not_utf8.or(not_finite) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let Self { layer, invalid } = Self::from_arg_matches(matches)?;
        self.layer.extend(layer);
        self.invalid = invalid;
        Ok(())
    }
}

impl GivenSettings {
    /// Gives an option a value, as on the command line.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<Value>) -> Self {
        self.layer.insert(option.to_owned(), value.into());
        self
    }
}

impl TrainArgs {
    /// The run that is asked for, with every setting resolved.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for invalid settings,
    /// [`Error::Missing`](crate::Error::Missing) if the model or the data are not there,
    /// naming the command that fetches them.
    pub fn resolve(&self) -> Result<ResolvedRun> {
        if let Some(sentence) = &self.settings.invalid {
            return Err(Error::Config(sentence.clone()));
        }
        let file = self.config.as_deref().map(Settings::read_layer).transpose()?;
        let mut layers = Layers {
            preset: self.preset,
            file: file.unwrap_or_default(),
            command_line: self.settings.layer.clone(),
            ..Layers::default()
        };
        let mut first = Settings::merged(&layers)?;
        if let Some(folder) = &first.adapter.adapter {
            let saved = SavedAdapter::load(folder)?;
            layers.decided = saved.decided_settings()?;
            layers.suggested = saved.suggested_settings(layers.given()?.contains_key("model"))?;
            first = Settings::merged(&layers)?;
        }
        let model = paths::model(&first.model, first.random_init)?;
        let suggested = match (first.recipe, self.preset) {
            (Recipe::Default, Preset::Train) => Settings::model_layer(&model)?,
            _ => None,
        };
        let (model_defaults, layer) = suggested.unzip();
        layers.model = layer.unwrap_or_default();
        let run = ResolvedRun::new(Settings::merged_and_checked(&layers)?)?;
        Ok(ResolvedRun { model_defaults, ..run })
    }
}

/// Options of the pretrain command: those of the train command with other defaults.
#[derive(Clone, Debug)]
pub struct PretrainArgs(pub TrainArgs);

impl Args for PretrainArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        TrainArgs::augment_args(command).mut_args(|arg| {
            let is_it = |(name, _): &&(&str, &str)| Some(*name) == arg.get_long();
            match Preset::Pretrain.options().iter().find(is_it) {
                Some((_, value)) => arg.default_value(*value),
                None => arg,
            }
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PretrainArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let args = TrainArgs::from_arg_matches(matches)?;
        Ok(Self(TrainArgs { preset: Preset::Pretrain, ..args }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}
