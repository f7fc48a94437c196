//! JSON Lines: one object per line.

use serde_json::value::RawValue;

use super::lines::{Lines, NUL};
use crate::{
    error::Result,
    table::{
        LARGEST_CHUNK,
        chunk::Columned,
        columns::{Columns, twice},
        records::{Object, Records, cell},
    },
};

/// Reader of a JSON Lines file.
pub(crate) struct Jsonl {
    lines: Lines,
    line: String,
    columns: Columns,
}

impl Jsonl {
    pub fn new(lines: Lines, columns: Columns) -> Self {
        Self { lines, line: String::new(), columns }
    }

    /// Returns the next rows, at most `most`. Blank lines are skipped.
    pub fn next_chunk(&mut self, most: usize) -> Result<Option<Columned>> {
        let mut chunk = Columned::default();
        let (mut objects, mut bytes) = (Vec::new(), 0);
        while objects.len() < most && bytes < LARGEST_CHUNK {
            if !self.lines.next_filled(&mut self.line)? {
                break;
            }
            if self.line.trim().is_empty() {
                continue;
            }
            bytes += self.line.len();
            let number = self.lines.number();
            let fail = |reason| self.lines.error(number, reason);
            let object = parse(&self.line).map_err(fail)?;
            let places = self
                .columns
                .places_in_record(&object.names())
                .map_err(|problem| self.lines.column_error(number, problem))?;
            let (name, value) = &object.0[places.text];
            let text = text(name, value).map_err(fail)?;
            let label = match places.label.map(|place| &object.0[place]) {
                Some((name, value)) => label(name, value).map_err(fail)?,
                None => None,
            };
            chunk.push(text, label);
            objects.push(object);
        }
        if objects.is_empty() {
            return Ok(None);
        }
        chunk.records = Records::Objects(objects);
        Ok(Some(chunk))
    }
}

/// Returns the object of a line.
fn parse(line: &str) -> Result<Object, String> {
    let object: Object = serde_json::from_str(line).map_err(|error| {
        // serde_json counts the line as line 1.
        let whole = error.to_string();
        let what = whole.split(" at line ").next().unwrap_or(&whole);
        format!("not a JSON object, column {}: {what}", error.column())
    })?;
    if let Some(name) = twice(&object.names()) {
        return Err(format!("the object has the key {name:?} twice; rename one"));
    }
    Ok(object)
}

fn text(name: &str, value: &RawValue) -> Result<String, String> {
    let spelled = value.get();
    if spelled != "null" && !spelled.starts_with('"') {
        return Err(format!("the text {name:?} is {}; it must be a string", short(spelled)));
    }
    let text = cell(value).map_err(|error| format!("the text {name:?} is no text: {error}"))?;
    let text = text.unwrap_or_default().into_owned();
    if text.contains('\0') { Err(NUL.to_owned()) } else { Ok(text) }
}

fn label(name: &str, value: &RawValue) -> Result<Option<String>, String> {
    let spelled = value.get();
    let number = spelled.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let whole = number && !spelled.contains(['.', 'e', 'E']);
    if !(whole || spelled.starts_with(['"', 't', 'f', 'n'])) {
        return Err(format!(
            "the label {name:?} is {}; it must be a string, a whole number or a boolean",
            short(spelled)
        ));
    }
    let label = cell(value).map_err(|error| format!("the label {name:?} is no text: {error}"))?;
    Ok(label.filter(|label| !label.trim().is_empty()).map(std::borrow::Cow::into_owned))
}

/// A value as a message shows it.
fn short(spelled: &str) -> String {
    match spelled.char_indices().nth(30) {
        Some((end, _)) => format!("{}…", &spelled[..end]),
        None => spelled.to_owned(),
    }
}
