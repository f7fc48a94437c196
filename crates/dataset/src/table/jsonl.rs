//! JSON Lines: an object a line.

use serde_json::value::RawValue;

use super::{
    LARGEST_CHUNK,
    cells::NUL,
    chunk::Columned,
    columns::{Columns, twice},
    lines::Lines,
    records::{Object, Records, cell},
};
use crate::error::Result;

/// A JSON Lines file that is being read.
pub(crate) struct Jsonl {
    lines: Lines,
    line: String,
    columns: Columns,
}

impl Jsonl {
    pub fn new(lines: Lines, columns: Columns) -> Self {
        Self { lines, line: String::new(), columns }
    }

    /// The next rows, at most `most`. Blank lines are passed over.
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
            let (object, text, label) = parse(&self.line, &self.columns)
                .map_err(|reason| self.lines.error(self.lines.number(), reason))?;
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

/// The object of a line, its text and its label.
fn parse(line: &str, columns: &Columns) -> Result<(Object, String, Option<String>), String> {
    let object: Object = serde_json::from_str(line).map_err(|error| {
        // The number of the line is 1 for serde_json.
        let whole = error.to_string();
        let what = whole.split(" at line ").next().unwrap_or(&whole);
        format!("not a JSON object, column {}: {what}", error.column())
    })?;
    let names: Vec<&str> = object.0.iter().map(|(name, _)| name.as_str()).collect();
    if let Some(name) = twice(&names) {
        return Err(format!("the object has the key {name:?} twice; rename one"));
    }
    let places = columns.places_in_record(&names)?;
    let text = text(names[places.text], &object.0[places.text].1)?;
    let label = match places.label {
        Some(place) => label(names[place], &object.0[place].1)?,
        None => None,
    };
    Ok((object, text, label))
}

fn text(name: &str, value: &RawValue) -> Result<String, String> {
    let spelled = value.get();
    if spelled != "null" && !spelled.starts_with('"') {
        return Err(format!("the text {name:?} is {}; it has to be a string", short(spelled)));
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
            "the label {name:?} is {}; it has to be a string, a whole number or a boolean",
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
