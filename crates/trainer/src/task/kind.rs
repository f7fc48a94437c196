//! Kinds of tasks.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Kind of task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// The label of a text
    #[default]
    Classify,
    /// The next token of plain text
    LanguageModel,
}
