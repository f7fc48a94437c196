//! Filter `tojson` of templates, as `transformers` defines it.

use minijinja::{Error, ErrorKind, value::Kwargs};
use serde_json::Value;

use super::template::ESCAPE;

/// Returns a value as JSON: characters as they are, with a space after commas and colons, or with
/// `indent` on several lines.
pub(super) fn to_json(value: &minijinja::Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let is_ascii: Option<bool> = options.get("ensure_ascii")?;
    // Keys are sorted in any case.
    let _: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let invalid = |reason: String| Error::new(ErrorKind::InvalidOperation, reason);
    if is_ascii == Some(true) {
        return Err(invalid("tojson: ensure_ascii=true is not supported; leave it out".to_owned()));
    }
    let value = serde_json::to_value(value).map_err(|error| invalid(format!("tojson: {error}")))?;
    let mut text = String::new();
    write(&value, indent, 0, &mut text);
    Ok(text)
}

fn write(value: &Value, indent: Option<usize>, depth: usize, text: &mut String) {
    match value {
        Value::Array(values) => {
            let write = |value: &Value, text: &mut String| write(value, indent, depth + 1, text);
            list(['[', ']'], values.iter(), indent, depth, text, write);
        }
        Value::Object(pairs) => {
            let write = |(key, value): (&String, &Value), text: &mut String| {
                text.push_str(&(quoted(key) + ": "));
                self::write(value, indent, depth + 1, text);
            };
            list(['{', '}'], pairs.iter(), indent, depth, text, write);
        }
        Value::String(value) => text.push_str(&quoted(value)),
        other => text.push_str(&other.to_string()),
    }
}

/// Appends the items of an array or object between brackets.
fn list<T>(
    [open, close]: [char; 2],
    items: impl ExactSizeIterator<Item = T>,
    indent: Option<usize>,
    depth: usize,
    text: &mut String,
    write: impl Fn(T, &mut String),
) {
    let line = |depth| match indent {
        Some(width) => format!("\n{}", " ".repeat(width * depth)),
        None => String::new(),
    };
    let (is_empty, comma) = (items.len() == 0, if indent.is_some() { "," } else { ", " });
    text.push(open);
    for (number, item) in items.enumerate() {
        text.push_str(if number > 0 { comma } else { "" });
        text.push_str(&line(depth + 1));
        write(item, text);
    }
    if !is_empty {
        text.push_str(&line(depth));
    }
    text.push(close);
}

/// String in quotes. [`ESCAPE`] is a mark of this program, not a character of the text.
fn quoted(text: &str) -> String {
    let inner = |part: &str| {
        let quoted = Value::from(part).to_string();
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.unwrap_or_default().to_owned()
    };
    let parts: Vec<String> = text.split(ESCAPE).map(inner).collect();
    format!("\"{}\"", parts.join(&ESCAPE.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::template::Template;

    fn rendered(source: &str) -> Result<String, String> {
        let value = serde_json::json!({
            "a": [1, "<b> & 'é'\n\"", null, true, 0.5], "e": {}, "l": [], "n": {"x": "<\0|y|>"},
        });
        let value = minijinja::Value::from(minijinja::value::Serde(&value));
        let template = Template::new("t", source, false).unwrap();
        template.render(minijinja::context! { value }, &"a").map_err(|error| error.to_string())
    }

    /// Expected values: `json.dumps(value, ensure_ascii=False)` of Python.
    #[test]
    fn json_equals_python() {
        let line = r#"{"a": [1, "<b> & 'é'\n\"", null, true, 0.5], "e": {}, "l": [], "n": {"x": "<NUL|y|>"}}"#;
        let expected = line.replace("NUL", "\0");
        assert_eq!(rendered("{{ value | tojson }}").unwrap(), expected);
        assert_eq!(rendered("{{ value | tojson(ensure_ascii=False) }}").unwrap(), expected);
        let lines = "{\n  \"l\": [],\n  \"n\": {\n    \"x\": [\n      1,\n      2\n    ]\n  }\n}";
        let source = "{{ {'l': [], 'n': {'x': [1, 2]}} | tojson(indent=2) }}";
        assert_eq!(rendered(source).unwrap(), lines);
        let error = rendered("{{ value | tojson(ensure_ascii=True) }}").unwrap_err();
        assert!(error.contains("ensure_ascii"), "{error}");
    }
}
