//! Reading and comparing the files of a run.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::SafeTensors;
use serde_json::Value;
use toml::Table;

/// Reads a JSON file.
pub fn read_json(path: &Path) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads a TOML file.
pub fn read_toml(path: &Path) -> Table {
    read(path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads a JSON Lines file.
pub fn read_jsonl(path: &Path) -> Vec<Value> {
    read(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads the float32 tensors of a safetensors file: shapes and values.
pub fn read_tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let decode = |bytes: &[u8]| {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    tensors
        .iter()
        .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), decode(view.data()))))
        .collect()
}

/// Files of a finished run by relative path, without the values that differ between
/// equal runs: times and the output folder. Hidden files are ignored, because a run that
/// was killed may leave a temporary file.
pub fn results(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(out).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            let below = results(&path).into_iter();
            all.extend(below.map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if name.ends_with(".json") || name.ends_with(".jsonl") {
            let text = String::from_utf8(bytes).unwrap();
            bytes = without(&without(&text, "seconds"), "out").into_bytes();
        }
        all.insert(name, bytes);
    }
    all
}

/// Removes the values of one name from JSON text.
fn without(text: &str, name: &str) -> String {
    let name = format!("\"{name}\":");
    let mut pieces = text.split(&name);
    let mut kept = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let value = piece.trim_start();
        let end = match value.strip_prefix('"') {
            Some(rest) => 2 + rest.find('"').unwrap(),
            None => value.find(['}', ',', '\n']).unwrap(),
        };
        kept.push_str(&value[end..]);
    }
    kept
}

/// Asserts that two finished runs have written the same files.
#[track_caller]
pub fn assert_same_results(one: &Path, other: &Path) {
    let (one, other) = (results(one), results(other));
    assert!(one.keys().eq(other.keys()), "{:?} and {:?}", one.keys(), other.keys());
    for (name, bytes) in &one {
        assert!(other[name] == *bytes, "{name} differs");
    }
}
