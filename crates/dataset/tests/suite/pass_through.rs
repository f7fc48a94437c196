//! Columns that are copied unchanged: values, types and metadata.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dataset::{Added, Format, LabeledFiles, Result, TableWriter};
use polars::prelude::{ParquetReader, SerReader};
use polars_arrow::datatypes::{ArrowDataType, Field as ArrowField};
use polars_arrow::io::ipc::read::deserialize_schema;
use serde_json::{Value, json};

use crate::tables::{none, open};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tables").join(name)
}

/// Copies a table with a column added; returns the notes.
fn copy(from: &Path, to: &Path) -> Result<Vec<String>> {
    let mut reader = open(from, &none(), false)?;
    let mut writer = TableWriter::create(to, None)?;
    while let Some(chunk) = reader.next_chunk(2)? {
        let added = Added::Floats(vec![Some(0.5); chunk.len()]);
        writer.write(&chunk, &[("p".to_owned(), added)])?;
    }
    writer.finish()
}

fn objects(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn typed_columns_have_a_spelling_in_csv() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("out.csv");
    assert!(copy(&fixture("types.parquet"), &csv).unwrap().is_empty());
    assert_eq!(
        fs::read_to_string(csv).unwrap(),
        "text,utc,berlin,offset,naive,number,whole,small,kind,list,struct,bytes,price,lasts,day,p\n\
         one,2026-03-28T19:00:00.500Z,2026-03-28T20:00:00.500+01:00,\
         2026-03-28T21:00:00.500+02:00,2026-03-28T19:00:00.500,inf,9007199254740993,1,y,\
         \"[\"\"a\"\",\"\"b,c\"\"]\",\"{\"\"a\"\":1,\"\"b\"\":null}\",00ff,1.00,PT1.5S,1970-01-01,0.5\n\
         two,1969-12-31T23:00:00Z,1970-01-01T00:00:00+01:00,1970-01-01T01:00:00+02:00,\
         1969-12-31T23:00:00,-inf,-1,2,x,[],\"{\"\"a\"\":2,\"\"b\"\":\"\"q\"\"}\",,,-PT0.001S,\
         2024-10-04,0.5\n\
         three,,,,,NaN,,3,,,,,-25.00,,,0.5\n"
    );
}

#[test]
fn typed_columns_have_a_spelling_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let jsonl = dir.path().join("out.jsonl");
    let notes = copy(&fixture("types.parquet"), &jsonl).unwrap();
    assert_eq!(notes, ["3 NaN or infinite values are null in JSON"]);
    let rows = objects(&jsonl);
    assert_eq!(
        rows[0],
        json!({
            "text": "one", "utc": "2026-03-28T19:00:00.500Z",
            "berlin": "2026-03-28T20:00:00.500+01:00", "offset": "2026-03-28T21:00:00.500+02:00",
            "naive": "2026-03-28T19:00:00.500", "number": null, "whole": 9007199254740993i64,
            "small": 1, "kind": "y", "list": ["a", "b,c"], "struct": {"a": 1, "b": null},
            "bytes": "00ff", "price": "1.00", "lasts": "PT1.5S", "day": "1970-01-01", "p": 0.5,
        })
    );
    assert_eq!(rows[2]["list"], Value::Null);
}

#[test]
fn json_values_that_become_strings_in_parquet_are_noted() {
    let dir = tempfile::tempdir().unwrap();
    let [from, parquet, csv, jsonl, again] =
        ["in.jsonl", "out.parquet", "out.csv", "out.jsonl", "again.jsonl"]
            .map(|name| dir.path().join(name));
    let text = r#"{"text":"a","id":7,"title":null,"tags":["x"],"score":null}
{"text":"b","id":8,"title":"t","tags":null,"score":1.50}
"#;
    fs::write(&from, text).unwrap();
    let notes = copy(&from, &parquet).unwrap();
    let expected = "JSON values that are not strings, such as numbers, became strings in Parquet (3 \
                    columns: \"id\", \"tags\", \"score\")";
    assert_eq!(notes, [expected]);
    copy(&parquet, &again).unwrap();
    assert_eq!(objects(&again)[1]["score"], json!("1.50"), "digits are kept");
    // CSV has no types, and JSON keeps them.
    for path in [&csv, &jsonl] {
        assert!(copy(&from, path).unwrap().is_empty(), "{}", path.display());
    }
    // Values of CSV are strings already; the column that the copy added is there.
    let notes = copy(&csv, &parquet).unwrap();
    assert!(notes.len() == 1 && notes[0].contains("already"), "{notes:?}");
}

#[test]
fn parquet_keeps_types_values_and_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let [copied, again, direct] = ["a.parquet", "b.csv", "c.csv"].map(|name| dir.path().join(name));
    copy(&fixture("types.parquet"), &copied).unwrap();
    copy(&copied, &again).unwrap();
    copy(&fixture("types.parquet"), &direct).unwrap();
    let without_p = |path: &Path| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().skip(1).map(|line| line.replace(",0.5", "")).collect()
    };
    assert_eq!(without_p(&again), without_p(&direct));
    let before = key_values(&fixture("types.parquet"));
    assert_eq!(before.get("origin").map(String::as_str), Some("a b"));
    assert!(before.contains_key("pandas"));
    let twice = dir.path().join("twice.parquet");
    copy(&copied, &twice).unwrap();
    for path in [&copied, &twice] {
        assert_eq!(key_values(path), before, "pairs of the file");
        let (columns, metadata) = arrow_schema(path);
        assert_eq!(metadata, before, "metadata of the Arrow schema");
        assert_eq!(columns[..2], ["text", "utc"]);
        assert!(columns.contains(&"p".to_owned()));
    }
}

/// Key-value metadata of a Parquet file, in their order.
fn pairs(path: &Path) -> Vec<(String, String)> {
    let mut reader = ParquetReader::new(fs::File::open(path).unwrap());
    let pairs = reader.get_metadata().unwrap().key_value_metadata.clone().unwrap();
    pairs.into_iter().map(|pair| (pair.key, pair.value.unwrap())).collect()
}

/// Key-value metadata beside the Arrow schema.
fn key_values(path: &Path) -> BTreeMap<String, String> {
    pairs(path).into_iter().filter(|(key, _)| key != "ARROW:schema").collect()
}

/// Columns and metadata of the Arrow schema, from which readers such as pyarrow take both.
fn arrow_schema(path: &Path) -> (Vec<String>, BTreeMap<String, String>) {
    let mut schemas = pairs(path).into_iter().filter(|(key, _)| key == "ARROW:schema");
    let (_, schema) = schemas.next().unwrap();
    assert!(schemas.next().is_none(), "one schema");
    let bytes = STANDARD.decode(schema).unwrap();
    let (prefix, message) = bytes.split_at(8);
    assert_eq!(prefix[..4], [0xff; 4]);
    assert_eq!(prefix[4..], u32::try_from(message.len()).unwrap().to_le_bytes());
    let (schema, _, metadata) = deserialize_schema(message).unwrap();
    let is_view = |field: &ArrowField| matches!(field.dtype, ArrowDataType::Utf8View);
    assert!(!schema.iter_values().any(is_view), "pyarrow does not convert lists of them to pandas");
    let columns = schema.iter_names().map(|name| name.to_string()).collect();
    let metadata = metadata.unwrap_or_default().into_iter();
    (columns, metadata.map(|(key, value)| (key.to_string(), value.to_string())).collect())
}

#[test]
fn unnamed_and_duplicate_columns_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("in.csv"), "v1,text,,,v1\r\n1,a,,x,2\r\n3,\"b\nc\",y,,4\r\n").unwrap();
    copy(&path("in.csv"), &path("out.csv")).unwrap();
    assert_eq!(
        fs::read_to_string(path("out.csv")).unwrap(),
        "v1,text,,,v1,p\n1,a,,x,2,0.5\n3,\"b\nc\",y,,4,0.5\n"
    );
    copy(&path("in.csv"), &path("out.jsonl")).unwrap();
    assert_eq!(
        objects(&path("out.jsonl"))[1],
        json!({"v1": "3", "text": "b\nc", "": "y", "_2": "", "v1_2": "4", "p": 0.5})
    );
}

#[test]
fn json_arrays_become_lines_with_their_spelling() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("in.json"), "[ {\n \"text\" : \"\\u00e9\",\n \"n\" : [ 1.50,\n 1e400 ]\n} ]")
        .unwrap();
    copy(&path("in.json"), &path("out.jsonl")).unwrap();
    assert_eq!(
        fs::read_to_string(path("out.jsonl")).unwrap(),
        "{\"text\":\"\\u00e9\",\"n\":[ 1.50, 1e400 ],\"p\":0.5}\n"
    );
    assert_eq!(Format::of("a.json.gz"), Format::Jsonl);
    assert_eq!([Format::by_extension("a.json"), Format::by_extension("a.csv.xz")], [None; 2]);
    assert_eq!(Format::by_extension("a.CSV.gz"), Some(Format::Csv));
}

#[test]
fn columns_of_unsupported_types_fail_only_when_used() {
    let dir = tempfile::tempdir().unwrap();
    for (name, is_read) in [
        ("half-arrow", false),
        ("half-plain", true),
        ("uuid-arrow", false),
        ("uuid-plain", true),
        ("fixed-arrow", true),
        ("fixed-plain", true),
        ("json-arrow", false),
        ("json-plain", true),
        ("decimal-arrow", false),
        ("decimal-plain", false),
        ("nested-arrow", false),
        ("nested-plain", true),
    ] {
        let path = fixture(&format!("foreign-{name}.parquet"));
        let (column, _) = name.split_once('-').unwrap();
        // Training and evaluation need two columns.
        let data = LabeledFiles::new(&path).read().unwrap();
        assert_eq!((data.labels(), data.examples().len()), (&["a", "b"].map(str::to_owned)[..], 2));
        let named = LabeledFiles::new(&path).label(column).read().map(drop);
        assert!(named.unwrap_err().to_string().contains(&format!("{column:?}")), "{name}");
        // Bytes within lists have no spelling in text formats.
        let texts = ["out.csv", "out.jsonl"].into_iter().filter(|_| name != "nested-plain");
        for out in texts.chain(["out.parquet"]) {
            let copied = copy(&path, &dir.path().join(out));
            match copied {
                Ok(notes) => {
                    assert!(is_read, "{name}");
                    assert_eq!(notes.len(), usize::from(out == "out.parquet"), "{name}: {notes:?}");
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(!is_read, "{error}");
                    let expected = format!("the column {column:?} is of the Parquet type ");
                    assert!(error.contains(&expected) && error.contains("leave it out"), "{error}");
                }
            }
        }
    }
}

#[test]
fn columns_whose_parquet_type_changes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.parquet");
    let notes = copy(&fixture("changed.parquet"), &out).unwrap();
    let expected = "the Parquet types of the columns \"map\", \"time\", \"digest\" change";
    assert!(notes.len() == 1 && notes[0].starts_with(expected), "{notes:?}");
    let again = copy(&out, &dir.path().join("again.parquet")).unwrap();
    assert_eq!(again, ["the table has columns \"p\" already; the added ones are called \"p_2\""]);
    for name in ["types.parquet", "category.parquet", "large.parquet", "view.parquet"] {
        assert!(copy(&fixture(name), &out).unwrap().is_empty(), "{name}");
    }
}
