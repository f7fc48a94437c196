//! Conversations as segments of text, of which the assistant's are learned.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    examples::{Place, Segment},
    record::short,
    template::{ChatTemplate, END},
};
use crate::error::{Error, Result};

/// Role whose messages are learned.
const ASSISTANT: &str = "assistant";

/// Message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub role: String,
    pub content: String,
}

impl Message {
    /// Message of a user.
    pub fn of_user(content: String) -> Self {
        Self { role: "user".to_owned(), content }
    }

    /// Answer of the assistant.
    pub fn answer(content: String) -> Self {
        Self { role: ASSISTANT.to_owned(), content }
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
    Ok(Message { role: text("role")?, content: text("content")? })
}

/// Divides a rendered conversation into segments. Learned are the answers of the assistant from
/// message `first` on, each from where `add_generation_prompt` ends to the end of the message.
/// None is learned in a conversation without such an answer.
///
/// # Errors
/// [`Error::Line`](crate::Error::Line) or [`Error::Row`](crate::Error::Row) if a conversation does
/// not begin as the template renders its first messages: then the place of an answer in it is
/// unknown.
pub(crate) fn segments(
    template: &ChatTemplate,
    messages: &[Message],
    first: usize,
    place: &Place,
) -> Result<Vec<Segment>> {
    let (mut segments, mut done) = (Vec::new(), String::new());
    for (index, message) in messages.iter().enumerate() {
        if index < first || !message.is_answer() {
            continue;
        }
        let prompt = template.render(&messages[..index], true, place)?;
        let answered = template.render(&messages[..=index], false, place)?;
        let (Some(context), Some(answer)) =
            (prompt.strip_prefix(&done), answered.strip_prefix(&prompt))
        else {
            return Err(inconsistent(index, place));
        };
        segments.push(Segment::of_chat(context, false));
        segments.push(Segment::of_chat(answer, true));
        done = answered;
    }
    let whole = template.render(messages, false, place)?;
    match whole.strip_prefix(&done) {
        None => return Err(inconsistent(messages.len().saturating_sub(1), place)),
        Some("") => {
            // The answer ends the conversation: a model must learn to stop there.
            let last = segments.last_mut().filter(|last| !last.text.contains(END));
            last.into_iter().for_each(|last| last.text.push_str(END));
        }
        Some(rest) => segments.push(Segment::of_chat(rest, false)),
    }
    Ok(segments)
}

fn inconsistent(index: usize, place: &Place) -> Error {
    place.error(format!(
        "the chat template renders the messages before message {} otherwise than at the beginning \
         of the conversation, so that the tokens of the answer are unknown; use another template",
        index + 1
    ))
}
