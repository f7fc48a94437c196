//! Messages of a conversation, read from a column.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    record::{check_nul, short},
    schema::find,
    unique_json,
};

/// Role whose messages are learned.
const ASSISTANT: &str = "assistant";

/// Keys of the calls of tools, today's and an earlier one, of a message that need not have a content.
const TOOL_CALLS: [&str; 2] = ["tool_calls", "function_call"];

/// Column of the tools of a conversation.
const TOOLS: &str = "tools";

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

/// Conversation of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Conversation {
    pub messages: Vec<Message>,
    /// Index of the message from which on answers are learned.
    pub first: usize,
    /// Tools that the assistant may call, which a chat template may describe: the column `tools`. A list,
    /// or what the column has for a template that does not read them.
    pub tools: Option<Value>,
}

impl Conversation {
    /// Reads the messages of a column, all of whose answers are learned.
    pub fn read(
        record: &Map<String, Value>,
        name: &str,
        reads_tools: bool,
    ) -> Result<Self, String> {
        let values = json_list(record, name, "messages")?;
        let values =
            values.ok_or_else(|| format!("{name:?} is null; it must be a list of messages"))?;
        let messages = values.iter().enumerate().map(|(index, value)| message(index + 1, value));
        let messages = messages.collect::<Result<_, _>>()?;
        Self::of(record, messages, reads_tools)
    }

    /// Conversation of these messages with the tools of a row.
    pub fn of(
        record: &Map<String, Value>,
        messages: Vec<Message>,
        reads_tools: bool,
    ) -> Result<Self, String> {
        let is_none = |tools: &Value| match tools {
            Value::String(text) => text.trim().is_empty() || text == "[]",
            Value::Array(tools) => tools.is_empty(),
            tools => tools.is_null(),
        };
        let column = find(record.keys(), TOOLS);
        let tools = match column.filter(|name| !record.get(*name).is_none_or(is_none)) {
            Some(name) if reads_tools => json_list(record, name, TOOLS)?.map(Value::Array),
            Some(name) => record.get(name).cloned(),
            None => None,
        };
        Ok(Self { messages, first: 0, tools: tools.filter(|tools| !is_none(tools)) })
    }
}

/// Returns the list of a column, which is the JSON of one in formats without lists. `None` if there is
/// no value.
fn json_list(
    record: &Map<String, Value>,
    name: &str,
    items: &str,
) -> Result<Option<Vec<Value>>, String> {
    let parsed;
    let value = match record.get(name) {
        Some(Value::String(text)) => {
            parsed = unique_json::parse(text)
                .map_err(|error| format!("{name:?} is not a list of {items} in JSON: {error}"))?;
            check_nul(&parsed)?;
            &parsed
        }
        Some(value) => value,
        None => &Value::Null,
    };
    match value {
        Value::Array(values) => Ok(Some(values.clone())),
        Value::Null => Ok(None),
        other => Err(format!("{name:?} is {}; it must be a list of {items}", short(other))),
    }
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
