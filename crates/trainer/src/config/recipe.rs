//! Recipes and presets: sets of defaults.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Set of defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// Pooling at the last real token, no padding
    #[default]
    Default,
    /// Appendix E of "Build a Large Language Model (From Scratch)", operation by operation: pooling
    /// at the last position, padding to the longest training example, quotation marks stripped as
    /// by CSV readers, stepwise arithmetic
    Book,
}

impl Recipe {
    /// Settings that differ from their defaults, by name.
    pub(crate) fn settings(self) -> Map<String, Value> {
        let settings = match self {
            Self::Default => json!({}),
            Self::Book => json!({
                "pooling": "last-position",
                "pad-to": "max-length",
                "quotes": "strip",
                "arithmetic": "stepwise",
            }),
        };
        settings.as_object().cloned().unwrap_or_default()
    }
}

/// Command with its own defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// `gpt2-lora train`: the declared defaults.
    #[default]
    Train,
    /// `gpt2-lora pretrain`: a language model with all parameters trained from a random
    /// initialization.
    Pretrain,
}

impl Preset {
    /// Options that differ from their defaults, with their values on the command line.
    pub(crate) fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Train => &[],
            Self::Pretrain => &[
                ("task", "language-model"),
                ("train", "all"),
                ("random-init", "true"),
                ("lr", "0.001"),
                ("schedule", "cosine"),
                ("min-lr-ratio", "0.1"),
                ("warmup-steps", "200"),
                ("weight-decay-on", "matrices"),
                ("beta2", "0.95"),
                ("max-grad-norm", "1"),
                ("epochs", "1"),
                ("batch-size", "16"),
                ("eval-every", "500"),
                ("checkpoint-every", "500"),
                ("sample-every", "500"),
                ("save-dtype", "float16"),
            ],
        }
    }

    /// Settings that differ from their defaults, by name.
    pub(crate) fn settings(self) -> Map<String, Value> {
        let value = |text: &str| {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
        };
        self.options().iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect()
    }
}
