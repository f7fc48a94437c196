//! Labels of a classifier in the `config.json` of the Hugging Face layout.

use std::path::Path;

use gpt2_config::read_text;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{ConfigProblem, Error, Result};

/// Settings of a classifier in `config.json`.
#[derive(Deserialize)]
struct Labeled {
    #[serde(default)]
    id2label: Value,
    #[serde(default)]
    label2id: Value,
    #[serde(default)]
    problem_type: Option<String>,
}

/// Reads the labels of the model in a folder, in the order of their class numbers; empty
/// if its `config.json` has none. `id2label` may be an object or a list, its labels text,
/// numbers or booleans; without it, `label2id` is read.
///
/// # Errors
/// [`Error::Storage`] or [`Error::Config`] name the file, also for a model that gives
/// each text several labels or a number.
pub fn labels_of(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join("config.json");
    let text = read_text(&path)?;
    let fail = |problem| Error::Config { origin: path.display().to_string(), problem };
    let labeled: Labeled = serde_json::from_str(&text)
        .map_err(|error| fail(ConfigProblem::Json { reason: error.to_string() }))?;
    if let Some(problem) = labeled.problem_type.filter(|name| name != "single_label_classification")
    {
        return Err(fail(ConfigProblem::ProblemType { problem_type: problem }));
    }
    let (name, numbered) = match (&labeled.id2label, &labeled.label2id) {
        (Value::Null, by_label) => ("label2id", numbered_by_label(by_label)),
        (by_number, _) => ("id2label", numbered(by_number)),
    };
    let numbered = numbered.ok_or_else(|| fail(ConfigProblem::Labels { name }))?;
    let mut labels = vec![None; numbered.len()];
    for (number, label) in numbered {
        let place = usize::try_from(number).ok().and_then(|number| labels.get_mut(number));
        let place = place.ok_or_else(|| fail(ConfigProblem::MissingClasses { name }))?;
        *place = Some(label);
    }
    labels
        .into_iter()
        .collect::<Option<_>>()
        .ok_or_else(|| fail(ConfigProblem::MissingClasses { name }))
}

/// Labels by number: `{"0": "ham"}` or `["ham"]`.
fn numbered(labels: &Value) -> Option<Vec<(i64, String)>> {
    match labels {
        Value::Array(labels) => {
            (0..).zip(labels).map(|(number, label)| Some((number, text(label)?))).collect()
        }
        Value::Object(labels) => {
            labels.iter().map(|(number, label)| Some((integer(number)?, text(label)?))).collect()
        }
        _ => None,
    }
}

/// Numbers by label: `{"ham": 0}`.
fn numbered_by_label(labels: &Value) -> Option<Vec<(i64, String)>> {
    match labels {
        Value::Null => Some(Vec::new()),
        Value::Object(labels) => labels
            .iter()
            .map(|(label, number)| Some((integer(&text(number)?)?, label.clone())))
            .collect(),
        _ => None,
    }
}

/// A number of a class, also as `LABEL_0`.
fn integer(text: &str) -> Option<i64> {
    text.trim().trim_start_matches("LABEL_").parse().ok()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
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
        let name = "id2label";
        for (numbered, expected) in [
            (json!({"1": "a"}), ConfigProblem::MissingClasses { name }),
            (json!({"0": "a", "00": "b"}), ConfigProblem::MissingClasses { name }),
            (json!({"x": "a"}), ConfigProblem::Labels { name }),
        ] {
            let error = read(&json!({"id2label": numbered})).unwrap_err();
            assert!(matches!(&error, Error::Config { problem, .. } if *problem == expected));
        }
    }

    #[test]
    fn labels_are_read_in_every_spelling() {
        let folder = tempfile::tempdir().unwrap();
        let read = |value: Value| {
            std::fs::write(folder.path().join("config.json"), value.to_string()).unwrap();
            labels_of(folder.path())
        };
        for spelling in [
            json!({"id2label": {"0": "ham", "1": "spam"}}),
            json!({"id2label": {"1": "spam", "0": "ham"}}),
            json!({"id2label": {"LABEL_0": "ham", "LABEL_1": "spam"}}),
            json!({"id2label": {" 0": "ham", "01": "spam"}}),
            json!({"id2label": ["ham", "spam"]}),
            json!({"id2label": null, "label2id": {"spam": 1, "ham": 0}}),
            json!({"label2id": {"spam": "1", "ham": "0"}}),
            json!({"id2label": ["ham", "spam"], "problem_type": "single_label_classification"}),
        ] {
            assert_eq!(read(spelling.clone()).unwrap(), ["ham", "spam"], "{spelling}");
        }
        assert_eq!(read(json!({"id2label": {"0": 0, "1": true}})).unwrap(), ["0", "true"]);
        for problem in ["multi_label_classification", "regression", "other"] {
            let error = read(json!({"id2label": ["a"], "problem_type": problem})).unwrap_err();
            let expected = ConfigProblem::ProblemType { problem_type: problem.to_owned() };
            assert!(matches!(&error, Error::Config { problem, .. } if *problem == expected));
        }
    }
}
