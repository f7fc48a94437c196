//! Messages of a conversation, read from a column.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::record::{check_nul, short};

/// Role whose messages are learned.
const ASSISTANT: &str = "assistant";

/// Message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub role: String,
    pub content: String,
    /// Other keys, which a chat template may read.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Message {
    /// Message of a user.
    pub fn of_user(content: String) -> Self {
        Self { role: "user".to_owned(), content, more: Map::new() }
    }

    /// Answer of the assistant.
    pub fn answer(content: String) -> Self {
        Self { role: ASSISTANT.to_owned(), content, more: Map::new() }
    }

    /// Returns whether the assistant says it.
    pub fn is_answer(&self) -> bool {
        self.role == ASSISTANT
    }
}

/// Returns the messages of a column: a list, or in CSV and TSV the JSON of one.
pub(crate) fn messages(record: &Map<String, Value>, name: &str) -> Result<Vec<Message>, String> {
    let parsed;
    let value = match record.get(name) {
        Some(Value::String(text)) => {
            parsed = serde_json::from_str(text)
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
    let (role, content) = (text("role")?, text("content")?);
    let mut more = pairs.clone();
    more.retain(|key, _| key != "role" && key != "content");
    Ok(Message { role, content, more })
}
