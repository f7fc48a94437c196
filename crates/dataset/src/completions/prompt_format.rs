//! Format of the prompts that a model was trained on.

use serde::{Deserialize, Serialize};

use super::{schema::Schema, template::PROMPT};

/// Schema of the training data and the templates that make prompts of it, as they are saved with
/// an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptFormat {
    /// Schema of the training data.
    pub schema: Schema,
    /// Template of prompts; `None` for texts and conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Template of conversations; `None` if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
}

impl PromptFormat {
    /// Returns the templates of prompts and of conversations, without one that leaves a prompt as it is.
    pub fn templates(&self) -> [Option<&str>; 2] {
        [self.template.as_deref().filter(|source| *source != PROMPT), self.chat_template.as_deref()]
    }
}
