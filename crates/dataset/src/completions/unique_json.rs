//! JSON values whose objects have every key once.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Returns the value of a JSON text. An object with a key twice is refused, as in the records of a
/// table: the parser of `serde_json` would keep the second one. The problem has no position, because
/// a line of the text is not a line of the file.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map(|Unique(value)| value).map_err(|error| {
        let spelled = error.to_string();
        let problem = spelled.split(" at line ").next().unwrap_or_default();
        // Text that begins as `null` or `true` does.
        problem.replace("expected ident", "expected value")
    })
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Self)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Unique(value))) = pairs.next_entry::<String, Unique>()? {
            if object.contains_key(&key) {
                let reason = format!("an object has the key {key:?} twice; rename one");
                return Err(A::Error::custom(reason));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_equal_the_values_of_serde_json() {
        let text =
            r#"{"a": [1, -2, 18446744073709551615, 0.1, 1e3, true, null], "b": {"a": "é\n"}}"#;
        assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn problems_have_no_position_within_the_text() {
        let twice = "an object has the key \"a\" twice; rename one";
        assert_eq!(parse("[{\"b\": {\"a\": 1,\n \"a\": 2}}]").unwrap_err(), twice);
        for text in ["[1, ", "\"\\ud800\"", "1e999", &"[".repeat(1000)] {
            let error = parse(text).unwrap_err();
            assert!(!error.is_empty() && !error.contains("line"), "{error}");
        }
    }
}
