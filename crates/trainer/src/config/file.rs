//! Options from a file: `--config run.toml`, under the names that they have on the
//! command line.

use std::path::Path;

use gpt2_model::read_settings_text;
use serde_json::{Map, Value};

use crate::{
    config::args::TrainArgs,
    error::{Error, Result},
};

/// Name of the file that a run leaves, which repeats it.
pub(crate) const RESOLVED_FILE: &str = "run.toml";

impl TrainArgs {
    /// These options, and those of the file that `config` names where these say
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Config`] names the file, the line and what is wrong.
    pub fn with_file(&self) -> Result<Self> {
        let Some(path) = &self.config else { return Ok(self.clone()) };
        let file = Self::read(path)?;
        let mut all = file.given()?;
        let mut given = self.given()?;
        // A choice of one kind on the command line takes the place of the other
        // kind in the file.
        for (one, other) in [("seed", "seeds"), ("seeds", "seed")] {
            if given.contains_key(one) {
                all.remove(other);
            }
        }
        all.append(&mut given);
        let all: Self = serde_json::from_value(Value::Object(all))
            .map_err(|error| Error::Config(format!("{}: {error}", path.display())))?;
        let Self { resume, print_model, json, .. } = *self;
        Ok(Self { resume, print_model, json, ..all })
    }

    fn read(path: &Path) -> Result<Self> {
        let text = read_settings_text(path)
            .map_err(|error| Error::Config(format!("cannot read {}: {error}", path.display())))?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                1 + text.bytes().take(span.start).filter(|&byte| byte == b'\n').count()
            });
            // Not all names that there are.
            let message = error.message().split(", expected one of").next().unwrap_or_default();
            Error::Config(format!(
                "{}, line {line}: {message}; `gpt2-lora train --help` lists the options",
                path.display()
            ))
        })
    }

    /// The options that are given, by name.
    fn given(&self) -> Result<Map<String, Value>> {
        let value = serde_json::to_value(self)
            .map_err(|error| Error::Config(format!("the options cannot be kept: {error}")))?;
        let Value::Object(mut options) = value else { return Ok(Map::new()) };
        options.retain(|_, value| match value {
            Value::Null => false,
            Value::Array(values) => !values.is_empty(),
            _ => true,
        });
        Ok(options)
    }

    /// The options as the text of such a file.
    ///
    /// # Errors
    /// [`Error::Config`] for a path that is not text.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string(&self.given()?)
            .map_err(|error| Error::Config(format!("the options cannot be written: {error}")))
    }
}
