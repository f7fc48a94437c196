//! Records of a table as JSON objects.

use serde_json::{Map, Value};

use super::unique_json;
use crate::{
    error::Result,
    table::{Chunk, Object, Records, json_lines, plain},
};

/// Returns the records of a chunk. Missing cells are `null`.
pub(crate) fn records(chunk: &Chunk) -> Result<Vec<Map<String, Value>>> {
    match &chunk.rows.records {
        Records::Objects(objects) => {
            let record = |(index, object): (usize, &Object)| {
                let pairs = object.0.iter().map(|(name, value)| {
                    let problem = |problem| format!("the {name:?} is malformed: {problem}");
                    Ok((name.clone(), unique_json::parse(value.get()).map_err(problem)?))
                });
                let record: Result<Map<String, Value>, String> = pairs.collect();
                record.map_err(|problem| chunk.error(index, problem))
            };
            objects.iter().enumerate().map(record).collect()
        }
        Records::Frame(frame) => {
            let lines = json_lines(plain(frame)?)?;
            let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let record = |(index, line)| {
                serde_json::from_slice(line)
                    .map_err(|error: serde_json::Error| chunk.error(index, error.to_string()))
            };
            lines.enumerate().map(record).collect()
        }
    }
}

/// Returns the problem of a value with a NUL byte, which no template could tell from the marks in
/// rendered text.
pub(crate) fn check_nul(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains('\0') => {
            Err("a text has a NUL byte; remove it".to_owned())
        }
        Value::Array(values) => values.iter().try_for_each(check_nul),
        Value::Object(pairs) => pairs.values().try_for_each(check_nul),
        _ => Ok(()),
    }
}

/// Returns the text of a column; empty if it is `null` or missing.
pub(crate) fn text<'a>(record: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    match record.get(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Ok(""),
        Some(other) => Err(format!("the {name:?} is {}; it must be a string", short(other))),
    }
}

/// Returns a value as a message shows it.
pub(crate) fn short(value: &Value) -> String {
    let spelled = value.to_string();
    match spelled.char_indices().nth(30) {
        Some((end, _)) => format!("{}…", &spelled[..end]),
        None => spelled,
    }
}
