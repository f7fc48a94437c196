//! JSON Lines, and arrays of objects.

use std::{
    io::{BufReader, Read},
    path::PathBuf,
};

use serde_json::value::RawValue;

use super::{
    input::Input,
    lines::{LONGEST_LINE, Lines, too_long},
};
use crate::{
    error::{Error, Result},
    table::{
        LARGEST_CHUNK,
        chunk::{Records, Rows},
        columns::{Columns, Wanted},
        json::{Object, cell},
    },
};

/// Reader of JSON.
pub(crate) struct Json {
    objects: Objects,
    columns: Columns,
    wanted: Wanted,
    name: PathBuf,
}

enum Objects {
    Lines(Lines),
    Array(Array),
}

impl Json {
    pub fn open(input: Input, columns: Columns, wanted: Wanted) -> Result<Self> {
        let name = input.name.clone();
        let objects = if is_array(input.beginning()) {
            Objects::Array(Array::new(input.into_stream(), name.clone()))
        } else {
            Objects::Lines(input.into_lines()?)
        };
        Ok(Self { objects, columns, wanted, name })
    }

    pub fn describe(&self) -> String {
        let format = match self.objects {
            Objects::Lines(_) => "JSON Lines",
            Objects::Array(_) => "JSON array",
        };
        format.to_owned()
    }

    /// Returns the next rows, at most `most`. Blank lines are skipped.
    pub fn next_rows(&mut self, most: usize) -> Result<Option<Rows>> {
        let mut rows = Rows::default();
        let (mut objects, mut bytes, mut text) = (Vec::new(), 0, String::new());
        while objects.len() < most && bytes < LARGEST_CHUNK {
            let next = match &mut self.objects {
                Objects::Array(array) => array.next(&mut text)?,
                Objects::Lines(lines) => next_line(lines, &mut text)?,
            };
            let Some(line) = next else { break };
            bytes += text.len();
            objects.push(self.add(&text, line, &mut rows)?);
            rows.lines.push(line);
        }
        if objects.is_empty() {
            return Ok(None);
        }
        rows.records = Records::Objects(objects);
        Ok(Some(rows))
    }

    /// Parses an object and adds its text and label to the rows.
    fn add(&self, text: &str, line: usize, rows: &mut Rows) -> Result<Object> {
        let fail = |reason| Error::Line { path: self.name.clone(), line, reason };
        let object = parse(text).map_err(fail)?;
        let names = object.names();
        let places = self.columns.places_in_record(&names, self.wanted).map_err(|problem| {
            Error::Columns { path: self.name.clone(), line: Some(line), problem }
        })?;
        let Some(text) = places.text else {
            rows.push_records(1);
            return Ok(object);
        };
        let (name, value) = &object.0[text];
        let text = text_of(name, value).map_err(fail)?;
        let label = places.label.map(|place| &object.0[place]);
        let label = label.map(|(name, value)| label_of(name, value)).transpose().map_err(fail)?;
        rows.push(&text, label.flatten().as_deref()).map_err(fail)?;
        Ok(object)
    }
}

/// Returns whether JSON begins with an array of objects.
pub(crate) fn is_array(beginning: &[u8]) -> bool {
    let rest = beginning.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'{' | b']')))
}

fn next_line(lines: &mut Lines, line: &mut String) -> Result<Option<usize>> {
    while lines.next(line)? {
        if !line.trim().is_empty() {
            return Ok(Some(lines.number()));
        }
    }
    Ok(None)
}

/// Returns the object of a record.
fn parse(text: &str) -> Result<Object, String> {
    let object: Object = serde_json::from_str(text).map_err(|error| {
        // serde_json counts the line as line 1.
        let whole = error.to_string();
        let what = whole.split(" at line ").next().unwrap_or(&whole);
        format!("not a JSON object, column {}: {what}", error.column())
    })?;
    let mut seen = std::collections::HashSet::new();
    if let Some(name) = object.names().into_iter().find(|name| !seen.insert(*name)) {
        return Err(format!("the object has the key {name:?} twice; rename one"));
    }
    Ok(object)
}

fn text_of(name: &str, value: &RawValue) -> Result<String, String> {
    let spelled = value.get();
    if spelled != "null" && !spelled.starts_with('"') {
        return Err(format!("the text {name:?} is {}; it must be a string", short(spelled)));
    }
    let text = cell(value).map_err(|error| format!("the text {name:?} is not text: {error}"))?;
    Ok(text.unwrap_or_default().into_owned())
}

fn label_of(name: &str, value: &RawValue) -> Result<Option<String>, String> {
    let spelled = value.get();
    let is_number = spelled.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if !(spelled.starts_with(['"', 't', 'f', 'n']) || is_number) {
        return Err(format!(
            "the label {name:?} is {}; it must be a string, a number or a boolean",
            short(spelled)
        ));
    }
    let label = cell(value).map_err(|error| format!("the label {name:?} is not text: {error}"))?;
    Ok(label.map(std::borrow::Cow::into_owned))
}

/// Returns a value as a message shows it.
fn short(spelled: &str) -> String {
    match spelled.char_indices().nth(30) {
        Some((end, _)) => format!("{}…", &spelled[..end]),
        None => spelled.to_owned(),
    }
}

/// Objects of an array, cut one by one: the array, which may be a single line, is never in
/// memory as a whole.
struct Array {
    bytes: std::io::Bytes<BufReader<Box<dyn Read + Send>>>,
    name: PathBuf,
    line: usize,
    began: bool,
    ended: bool,
}

impl Array {
    fn new(stream: Box<dyn Read + Send>, name: PathBuf) -> Self {
        let bytes = BufReader::with_capacity(256 << 10, stream).bytes();
        Self { bytes, name, line: 1, began: false, ended: false }
    }

    fn byte(&mut self) -> Result<Option<u8>> {
        let byte = self.bytes.next().transpose().map_err(storage::Error::read(&self.name))?;
        self.line += usize::from(byte == Some(b'\n'));
        Ok(byte)
    }

    /// Returns the next byte that is not white space or, before the array, a byte order mark.
    fn filled(&mut self) -> Result<Option<u8>> {
        loop {
            match self.byte()? {
                Some(b' ' | b'\t' | b'\r' | b'\n') => {}
                Some(0xef | 0xbb | 0xbf) if !self.began => {}
                byte => return Ok(byte),
            }
        }
    }

    /// Replaces `text` by the next object, on one line; returns its line, or `None` at the end.
    fn next(&mut self, text: &mut String) -> Result<Option<usize>> {
        if self.ended {
            return Ok(None);
        }
        let mut byte = self.filled()?;
        let between = if self.began { b',' } else { b'[' };
        if byte == Some(b']') && self.began {
            return self.end();
        }
        if byte != Some(between) {
            return Err(self.unexpected(byte, if self.began { "\",\" or \"]\"" } else { "\"[\"" }));
        }
        byte = self.filled()?;
        if byte == Some(b']') && !self.began {
            return self.end();
        }
        self.began = true;
        let line = self.line;
        if byte != Some(b'{') {
            return Err(self.unexpected(byte, "an object"));
        }
        self.object(line, text)?;
        Ok(Some(line))
    }

    /// Refuses what follows the array.
    fn end(&mut self) -> Result<Option<usize>> {
        (self.began, self.ended) = (true, true);
        match self.filled()? {
            None => Ok(None),
            byte => Err(self.unexpected(byte, "nothing after the array")),
        }
    }

    /// Reads the rest of an object, without line breaks between its tokens.
    fn object(&mut self, line: usize, text: &mut String) -> Result<()> {
        let mut bytes = std::mem::take(text).into_bytes();
        bytes.clear();
        bytes.push(b'{');
        let (mut depth, mut in_string, mut escaped) = (1usize, false, false);
        while depth > 0 {
            let Some(byte) = self.byte()? else {
                return Err(self.error(line, "the object is not complete".to_owned()));
            };
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => depth += 1,
                b'}' | b']' if !in_string => depth -= 1,
                b'\n' | b'\r' if !in_string => continue,
                _ => {}
            }
            bytes.push(byte);
            if bytes.len() > LONGEST_LINE {
                return Err(self.error(line, too_long()));
            }
        }
        *text = String::from_utf8(bytes).map_err(|error| {
            let byte = error.as_bytes()[error.utf8_error().valid_up_to()];
            Error::NotUtf8 { path: self.name.clone(), line, byte }
        })?;
        Ok(())
    }

    fn unexpected(&self, byte: Option<u8>, expected: &str) -> Error {
        let got =
            byte.map_or("the end of the file".to_owned(), |byte| format!("{:?}", char::from(byte)));
        self.error(
            self.line,
            format!("the JSON array is malformed: expected {expected}, got {got}"),
        )
    }

    fn error(&self, line: usize, reason: String) -> Error {
        Error::Line { path: self.name.clone(), line, reason }
    }
}
