//! Messages of a conversation, read from a column.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    record::{check_nul, short},
    unique_json,
};

/// Role whose messages are learned.
const ASSISTANT: &str = "assistant";

/// Keys of the calls of tools, today's and an earlier one, of a message that need not have a content.
const TOOL_CALLS: [&str; 2] = ["tool_calls", "function_call"];

/// Message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub role: String,
    /// `None` where the assistant says nothing but calls tools.
    pub content: Option<String>,
    /// Other keys, which a chat template may read.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Message {
    /// Message of a user.
    pub fn of_user(content: String) -> Self {
        Self { role: "user".to_owned(), content: Some(content), more: Map::new() }
    }

    /// Answer of the assistant.
    pub fn answer(content: String) -> Self {
        Self { role: ASSISTANT.to_owned(), content: Some(content), more: Map::new() }
    }

    /// Returns whether the assistant says it.
    pub fn is_answer(&self) -> bool {
        self.role == ASSISTANT
    }

    /// Returns whether it has neither a text nor calls of tools.
    pub fn is_empty(&self) -> bool {
        let is_none =
            |calls: &Value| calls.is_null() || calls.as_array().is_some_and(Vec::is_empty);
        let has_calls = |key: &&str| self.more.get(*key).is_some_and(|calls| !is_none(calls));
        let text = self.content.as_deref().unwrap_or_default();
        text.trim().is_empty() && !TOOL_CALLS.iter().any(has_calls)
    }
}

/// Returns the messages of a column: a list, or in CSV and TSV the JSON of one.
pub(crate) fn messages(record: &Map<String, Value>, name: &str) -> Result<Vec<Message>, String> {
    let parsed;
    let value = match record.get(name) {
        Some(Value::String(text)) => {
            parsed = unique_json::parse(text)
                .map_err(|error| format!("{name:?} is not a list of messages in JSON: {error}"))?;
            check_nul(&parsed)?;
            &parsed
        }
        Some(value) => value,
        None => &Value::Null,
    };
    let Value::Array(values) = value else {
        let found = short(value);
        return Err(format!("{name:?} is {found}; it must be a list of messages"));
    };
    values.iter().enumerate().map(|(index, value)| message(index + 1, value)).collect()
}

fn message(number: usize, value: &Value) -> Result<Message, String> {
    let Value::Object(pairs) = value else {
        return Err(format!(
            "message {number} is {}; it must be an object with a role and a content",
            short(value)
        ));
    };
    let text = |key: &str| match pairs.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        None => Err(format!("message {number} has no {key}")),
        Some(other) => {
            Err(format!("the {key} of message {number} is {}; it must be a string", short(other)))
        }
    };
    let role = text("role")?;
    let calls_tools = || TOOL_CALLS.iter().any(|key| pairs.contains_key(*key));
    let content = match pairs.get("content") {
        Some(Value::Null) if role == ASSISTANT => None,
        None if role == ASSISTANT && calls_tools() => None,
        _ => Some(text("content")?),
    };
    let mut more = pairs.clone();
    more.retain(|key, _| key != "role" && key != "content");
    Ok(Message { role, content, more })
}
