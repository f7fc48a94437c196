//! Settings that a model brings with it: `fine_tuning.json` in its folder.
//!
//! A rate that suits GPT-2 124M is far too low for a model a tenth as large. What
//! was found to suit a model is kept beside its weights, and stands between the
//! recipe's defaults and the options that the user gives.

use std::{
    io,
    path::{Path, PathBuf},
};

use gpt2_model::{Pooling, read_settings_text};
use lora::Scaling;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Name of the file.
pub const SUGGESTED_FILE: &str = "fine_tuning.json";

/// Settings for fine-tuning a model, under the names that `config.json` of a run
/// has for them. What is not said is left to the recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suggested {
    /// Inner dimension of the adapters.
    pub rank: Option<i64>,
    /// Strength of the adapters.
    pub alpha: Option<f64>,
    /// What the low-rank product is multiplied by.
    pub scaling: Option<Scaling>,
    /// Learning rate.
    pub lr: Option<f64>,
    /// Weight decay of AdamW.
    pub weight_decay: Option<f64>,
    /// Passes over the training part.
    pub epochs: Option<usize>,
    /// Rows in a batch.
    pub batch_size: Option<usize>,
    /// Position that speaks for a row.
    pub pooling: Option<Pooling>,
}

impl Suggested {
    /// What the model in `folder` suggests, and the file that says it.
    ///
    /// # Errors
    /// [`Error::Config`] names a file that cannot be read.
    pub fn of_model(folder: &Path) -> Result<Option<(PathBuf, Self)>> {
        let path = folder.join(SUGGESTED_FILE);
        let text = match read_settings_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Error::Config(format!("cannot read {}: {error}", path.display())));
            }
        };
        let suggested = serde_json::from_str(&text).map_err(|error| {
            Error::Config(format!(
                "{} does not hold settings for fine-tuning: {error}; mend it or remove it",
                path.display()
            ))
        })?;
        Ok(Some((path, suggested)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_model_may_suggest_some_settings_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let read = || Suggested::of_model(folder.path());
        assert_eq!(read().unwrap(), None);
        let file = folder.path().join(SUGGESTED_FILE);
        fs::write(&file, r#"{"lr": 0.001, "scaling": "rslora", "pooling": "last-token"}"#).unwrap();
        let expected = Suggested {
            lr: Some(0.001),
            scaling: Some(Scaling::RsLora),
            pooling: Some(Pooling::LastToken),
            ..Suggested::default()
        };
        assert_eq!(read().unwrap(), Some((file.clone(), expected)));
        fs::write(&file, r#"{"learning_rate": 0.001}"#).unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains(SUGGESTED_FILE) && error.contains("learning_rate"), "{error}");
    }
}
