//! Columns that are only passed on: values, types and metadata.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dataset::{Added, Format, Result, TableWriter};
use serde_json::{Value, json};

use crate::tables::{none, open};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tables").join(name)
}

/// Copies a table with a column added; returns the note.
fn copy(from: &Path, to: &Path) -> Result<Option<String>> {
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
    assert_eq!(copy(&fixture("types.parquet"), &csv).unwrap(), None);
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
    let note = copy(&fixture("types.parquet"), &jsonl).unwrap().unwrap();
    assert_eq!(note, "3 NaN or infinite values are null in JSON");
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
    let bytes = fs::read(&copied).unwrap();
    let has = |part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
    assert!(has("origin") && has("a b") && has("pandas"), "key-value metadata is kept");
}

#[test]
fn unnamed_and_double_columns_are_passed_on() {
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
    assert_eq!([Format::by_extension("a.json"), Format::by_extension("a.csv.gz")], [None; 2]);
}
