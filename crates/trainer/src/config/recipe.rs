//! Recipes: sets of defaults.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A set of defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// Pool at the last real token, compute no padding
    #[default]
    Default,
    /// Appendix E of "Build a Large Language Model (From Scratch)" to the digit: pool at the
    /// last position, pad to the longest training example, strip quotation marks as CSV
    /// readers do, compute operation by operation
    Book,
}

impl Recipe {
    /// The settings that differ from their defaults, by name.
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

/// A command, which brings defaults of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// `gpt2-lora train`: the defaults as they are declared.
    #[default]
    Train,
    /// `gpt2-lora pretrain`: a language model, all of whose parameters are trained from a
    /// random initialization.
    Pretrain,
}

impl Preset {
    /// The options that differ from their defaults, and their values on the command line.
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

    /// The settings that differ from their defaults, by name.
    pub(crate) fn settings(self) -> Map<String, Value> {
        let value = |text: &str| {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
        };
        self.options().iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect()
    }
}
