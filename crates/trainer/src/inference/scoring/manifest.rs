//! Manifest of an output directory: everything that decides the bytes of its parts.

use std::path::{Path, PathBuf, absolute};

use dataset::{Format, ShardedFile, TableOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Scoring;
use crate::error::{Error, Result};

/// Version of the manifest's form.
const VERSION: u32 = 1;

/// Characters of a value in a message, at most.
const LONGEST_VALUE: usize = 120;

/// Contents of `_manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    version: u32,
    program: String,
    /// Digest of the files of the adapter.
    adapter: String,
    /// Digest of the base model.
    base_model: String,
    /// Options by name.
    options: Map<String, Value>,
    files: Vec<InputFile>,
}

/// Input file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct InputFile {
    /// Path below the directory that all files have in common, so that the directory may have
    /// another name on another machine.
    path: String,
    size: u64,
    /// Checksum of the first and the last MiB.
    sha256: String,
    /// Row group behind the last one of each shard; `None` for a file that is one shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shards_end_before: Option<Vec<usize>>,
}

/// Difference between two manifests.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    pub what: String,
    pub expected: String,
    pub given: String,
}

impl Manifest {
    pub fn new(scoring: &Scoring<'_>, files: &[ShardedFile], format: Format) -> Result<Self> {
        let [adapter, base_model] = scoring.predictor.digests()?;
        let names = names(files.iter().map(|file| file.path.as_path()));
        let files = files.iter().zip(names).map(|(file, path)| InputFile {
            path,
            size: file.size,
            sha256: file.sha256.clone(),
            shards_end_before: file
                .row_groups
                .as_ref()
                .map(|groups| groups.iter().map(|groups| groups.end).collect()),
        });
        Ok(Self {
            version: VERSION,
            program: concat!("gpt2-lora ", env!("CARGO_PKG_VERSION")).to_owned(),
            adapter,
            base_model,
            options: options(scoring, format)?,
            files: files.collect(),
        })
    }

    /// Returns what the processes must agree on, by name.
    pub fn facts(&self) -> Result<[(&'static str, String); 5]> {
        let json = |value: serde_json::Result<String>| {
            value.map_err(|error| Error::serialize("manifest", &error))
        };
        Ok([
            ("version of the program", self.program.clone()),
            ("adapter", self.adapter.clone()),
            ("base model", self.base_model.clone()),
            ("options", json(serde_json::to_string(&self.options))?),
            ("input files", storage::sha256(json(serde_json::to_string(&self.files))?.as_bytes())),
        ])
    }

    /// Returns the first difference from the manifest of this process.
    pub fn difference(&self, given: &Self) -> Option<Difference> {
        if self == given {
            return None;
        }
        let differs = |what: &str, expected: &dyn ToString, given: &dyn ToString| {
            let (expected, given) = (expected.to_string(), given.to_string());
            (expected != given).then(|| {
                let [what, expected, given] = [what, &expected, &given].map(shortened);
                Difference { what, expected, given }
            })
        };
        let digest = |what: &str, expected: &str, given: &str| {
            differs(what, &format!("the digest {expected}"), &format!("the digest {given}"))
        };
        let missing = Value::Null;
        let names = self.options.keys().chain(given.options.keys());
        let mut options = names.filter_map(|name| {
            let value = |options: &Map<String, Value>| match options.get(name).unwrap_or(&missing) {
                Value::Null => "the default".to_owned(),
                Value::String(text) => text.clone(),
                value => value.to_string(),
            };
            differs(&format!("--{name}"), &value(&self.options), &value(&given.options))
        });
        let files = || differs("number of input files", &self.files.len(), &given.files.len());
        let mut pairs = self.files.iter().zip(&given.files);
        let mut each_file = pairs.by_ref().filter_map(|(expected, given)| {
            differs("input file", &expected.path, &given.path).or_else(|| {
                let what = format!("input file {}", expected.path);
                differs(&what, &expected.describe(), &given.describe())
            })
        });
        differs("version of the manifest", &self.version, &given.version)
            .or_else(|| differs("program", &self.program, &given.program))
            .or_else(|| digest("adapter", &self.adapter, &given.adapter))
            .or_else(|| digest("base model", &self.base_model, &given.base_model))
            .or_else(|| options.next())
            .or_else(files)
            .or_else(|| each_file.next())
            // What the messages above leave out, such as the end of each shard.
            .or_else(|| {
                let [what, expected, given] =
                    ["division of the input", "the shards", "others"].map(str::to_owned);
                Some(Difference { what, expected, given })
            })
    }
}

impl InputFile {
    fn describe(&self) -> String {
        let shards = self.shards_end_before.as_ref().map_or(1, Vec::len);
        let digits: String = self.sha256.chars().take(16).collect();
        format!("{} bytes in {shards} shards with the digest {digits}", self.size)
    }
}

/// Returns the beginning of a value, which may be the labels of many classes.
fn shortened(value: &str) -> String {
    match value.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// Returns the options that decide the rows, the predictions and the form of a part.
fn options(scoring: &Scoring<'_>, format: Format) -> Result<Map<String, Value>> {
    let TableOptions { columns, format: input_format, separator, quote_char, no_header, encoding } =
        scoring.table;
    let options = json!({
        "format": format,
        "input-format": input_format,
        "text-column": columns.text,
        "separator": separator,
        "quote-char": quote_char,
        "no-header": no_header,
        "encoding": encoding,
        "probabilities": scoring.probabilities,
        "on-long-text": scoring.predictor.on_long_text(),
        "dtype": scoring.predictor.dtype(),
        "labels": scoring.predictor.labels(),
    });
    match options {
        Value::Object(options) => Ok(options),
        _ => Err(Error::Internal("the options are not an object")),
    }
}

/// Returns the paths below the directory that all have in common.
fn names<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<String> {
    let paths: Vec<PathBuf> =
        paths.map(|path| absolute(path).unwrap_or_else(|_| path.to_owned())).collect();
    let mut common = paths.first().and_then(|path| path.parent());
    while let Some(directory) = common
        && !paths.iter().all(|path| path.starts_with(directory))
    {
        common = directory.parent();
    }
    let below = |path: &PathBuf| {
        let name = common.and_then(|directory| path.strip_prefix(directory).ok());
        name.unwrap_or(path).display().to_string()
    };
    paths.iter().map(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let options = json!({"format": "csv", "text-column": null, "probabilities": false});
        let file = |path: &str| InputFile {
            path: path.to_owned(),
            size: 9,
            sha256: storage::sha256(path.as_bytes()),
            shards_end_before: Some(vec![1, 4]),
        };
        Manifest {
            version: VERSION,
            program: "gpt2-lora 0.1.0".to_owned(),
            adapter: "0123".to_owned(),
            base_model: "4567".to_owned(),
            options: serde_json::from_value(options).unwrap(),
            files: vec![file("a.parquet"), file("b.parquet")],
        }
    }

    #[test]
    fn manifest_survives_json() {
        let text = serde_json::to_string(&manifest()).unwrap();
        let read: Manifest = serde_json::from_str(&text).unwrap();
        assert_eq!(read, manifest());
        assert_eq!(read.difference(&manifest()), None);
    }

    #[test]
    fn first_difference_is_named() {
        let check = |change: fn(&mut Manifest), expected: &str| {
            let mut other = manifest();
            change(&mut other);
            let Difference { what, expected: was, given } = manifest().difference(&other).unwrap();
            assert_eq!(format!("{what}: {was} / {given}"), expected);
        };
        check(|it| it.version = 2, "version of the manifest: 1 / 2");
        check(|it| it.program.push('1'), "program: gpt2-lora 0.1.0 / gpt2-lora 0.1.01");
        check(|it| it.adapter.clear(), "adapter: the digest 0123 / the digest ");
        check(|it| it.base_model.clear(), "base model: the digest 4567 / the digest ");
        check(|it| drop(it.options.remove("format")), "--format: csv / the default");
        check(
            |it| drop(it.options.insert("text-column".to_owned(), json!("body"))),
            "--text-column: the default / body",
        );
        check(
            |it| drop(it.options.insert("probabilities".to_owned(), json!(true))),
            "--probabilities: false / true",
        );
        let long = format!("--format: csv / {}…", "é".repeat(LONGEST_VALUE));
        check(|it| drop(it.options.insert("format".to_owned(), json!("é".repeat(1000)))), &long);
        check(|it| drop(it.files.pop()), "number of input files: 2 / 1");
        check(|it| it.files.swap(0, 1), "input file: a.parquet / b.parquet");
        check(
            |it| it.files[1].size = 8,
            "input file b.parquet: 9 bytes in 2 shards with the digest \
             5bf4417d17751d23 / 8 bytes in 2 shards with the digest 5bf4417d17751d23",
        );
    }

    #[test]
    fn paths_are_relative_to_the_common_directory() {
        let check = |paths: &[&str], expected: &[&str]| {
            assert_eq!(names(paths.iter().map(Path::new)), expected);
        };
        check(&[], &[]);
        check(&["/data/in/a.csv"], &["a.csv"]);
        check(&["/data/in/a.csv", "/data/in/b/c.csv"], &["a.csv", "b/c.csv"]);
        check(&["/data/in/a.csv", "/data/ink/a.csv"], &["in/a.csv", "ink/a.csv"]);
        check(&["/a.csv", "/b/a.csv"], &["a.csv", "b/a.csv"]);
        check(&["in/a.csv", "./in/b.csv"], &["a.csv", "b.csv"]);
    }
}
