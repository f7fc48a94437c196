//! Command line of a training run, shared by the binaries.

use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches, parser::ValueSource};
use serde_json::Value;

use crate::{
    config::{
        error::{Range, SettingsError},
        layers::{Layer, Layers},
        paths,
        recipe::{Preset, Recipe},
        resolve::ResolvedRun,
        settings::Settings,
    },
    error::Result,
    inference::SavedAdapter,
};

/// Largest timeout in seconds: a month.
pub const MAX_TIMEOUT: u64 = 31 * 24 * 3600;

/// Options of the train command: the settings of a run, and options of the command itself.
#[derive(Args, Clone, Debug, Default)]
pub struct TrainArgs {
    /// TOML file of options by name (batch-size = 16). Options on the command line override it,
    /// for example --dora=false. Every run writes such a file, run.toml, which repeats the run
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Preset of the command, which sets defaults.
    #[arg(skip)]
    pub preset: Preset,
    /// Settings on the command line.
    #[command(flatten)]
    pub settings: GivenSettings,
    /// Resume from the last checkpoint in --out, if there is one. The results equal an
    /// uninterrupted run byte for byte
    #[arg(long, requires = "out", help_heading = "Output")]
    pub resume: bool,
    /// Seconds to wait for another process of the run before ending with an error
    #[arg(long, value_name = "SECONDS", default_value_t = 600, help_heading = "Distributed training",
          value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT))]
    pub timeout: u64,
    /// Print the resolved settings, statistics of the data, parameter counts, steps, and an
    /// estimate of time and memory from a few training steps; write nothing
    #[arg(long, conflicts_with_all = ["resume", "print_model"], help_heading = "Output")]
    pub dry_run: bool,
    /// Print the modules of the model that is trained; with --json, to standard error
    #[arg(long, help_heading = "Output")]
    pub print_model: bool,
    /// Print the report, or the result of --dry-run, as JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// Directory of a run without `--out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// A new one.
    Created,
    /// Only its name.
    Planned,
}

/// Settings on a command line, by option name.
#[derive(Clone, Debug, Default)]
pub struct GivenSettings {
    layer: Layer,
    /// The first value that a file of settings cannot hold.
    invalid: Option<SettingsError>,
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
        let not_utf8 = not_utf8.map(|path| SettingsError::NotUtf8 { path: path.clone() });
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
            SettingsError::OutOfRange { option: name.clone(), expected: Range::Finite, value }
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
    /// Sets an option as on the command line.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<Value>) -> Self {
        self.layer.insert(option.to_owned(), value.into());
        self
    }
}

impl TrainArgs {
    /// Resolves every setting of the run.
    ///
    /// # Errors
    /// [`Error::Settings`](crate::Error::Settings);
    /// [`Error::NotFound`](crate::Error::NotFound) if the model or the data does not exist,
    /// with the command that fetches it.
    pub fn resolve(&self) -> Result<ResolvedRun> {
        self.resolve_in(Output::Created)
    }

    /// As [`resolve`](Self::resolve), for a process that may write nothing.
    pub(crate) fn resolve_in(&self, output: Output) -> Result<ResolvedRun> {
        if let Some(error) = &self.settings.invalid {
            return Err(error.clone().into());
        }
        let file = self.config.as_deref().map(Settings::read_layer).transpose()?;
        let mut layers = Layers {
            preset: self.preset,
            file: file.unwrap_or_default(),
            command_line: self.settings.layer.clone(),
            ..Layers::default()
        };
        let mut first = Settings::merged(&layers)?;
        let mut trained_format = None;
        if let Some(folder) = &first.adapter.adapter {
            let saved = SavedAdapter::load(folder)?;
            layers.decided = saved.decided_settings()?;
            trained_format = saved.prompt_format();
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
        let mut settings = Settings::merged_and_checked(&layers)?;
        if (self.dry_run || output == Output::Planned) && settings.out.is_none() {
            settings.out = Some(paths::planned_out(&settings.model)?);
        }
        let run = ResolvedRun::new(settings)?;
        Ok(ResolvedRun { model_defaults, trained_format, ..run })
    }
}

/// Options of the pretrain command: the options of the train command with other defaults.
#[derive(Clone, Debug)]
pub struct PretrainArgs(pub TrainArgs);

impl Args for PretrainArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        TrainArgs::augment_args(command).mut_args(|arg| {
            let is_named = |(name, _): &&(&str, &str)| Some(*name) == arg.get_long();
            let Some((_, value)) = Preset::Pretrain.options().iter().find(is_named) else {
                return arg;
            };
            // The help of an option without a default value ends with a description of it.
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let help = help.split(" [default:").next().unwrap_or_default().to_owned();
            arg.default_value(*value).help(help)
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
