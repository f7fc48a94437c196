//! Labels of a classifier in the `config.json` of the Hugging Face layout.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    config::read_json,
    error::{Error, Result},
};

#[derive(Deserialize)]
struct Labeled {
    #[serde(default)]
    id2label: BTreeMap<String, String>,
}

/// Reads the labels of the model in a folder, in the order of their class numbers; empty
/// if its `config.json` has none.
///
/// # Errors
/// [`Error::Storage`] or [`Error::Config`] name the file.
pub fn labels_of(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join("config.json");
    let text = read_json(&path)?;
    let fail = |reason: String| Error::Config { origin: path.display().to_string(), reason };
    let labeled: Labeled =
        serde_json::from_str(&text).map_err(|error| fail(format!("id2label: {error}")))?;
    let mut labels = vec![None; labeled.id2label.len()];
    for (number, label) in labeled.id2label {
        let place = number.parse::<usize>().ok().and_then(|number| labels.get_mut(number));
        let place = place.ok_or_else(|| fail(format!("id2label has no class {number}")))?;
        *place = Some(label);
    }
    labels.into_iter().collect::<Option<_>>().ok_or_else(|| fail("id2label has gaps".to_owned()))
}

/// Returns the entries of a `config.json` for labels.
pub(crate) fn entries(labels: &[String]) -> Map<String, Value> {
    let numbered = labels.iter().enumerate();
    let by_number: Map<String, Value> =
        numbered.clone().map(|(number, label)| (number.to_string(), json!(label))).collect();
    let by_label: Map<String, Value> =
        numbered.map(|(number, label)| (label.clone(), json!(number))).collect();
    [("id2label", by_number), ("label2id", by_label)]
        .into_iter()
        .map(|(name, map)| (name.to_owned(), Value::Object(map)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let read = |value: &Value| {
            std::fs::write(folder.path().join("config.json"), value.to_string()).unwrap();
            labels_of(folder.path())
        };
        let labels: Vec<String> = (0..12).map(|number| format!("class {number}")).collect();
        assert_eq!(read(&Value::Object(entries(&labels))).unwrap(), labels);
        assert_eq!(read(&json!({"n_layer": 2})).unwrap(), [""; 0]);
        assert!(read(&json!({"id2label": {"1": "a"}})).is_err());
        assert!(read(&json!({"id2label": {"0": "a", "00": "b"}})).is_err());
    }
}
