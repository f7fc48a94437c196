//! Tables that pandas and pyarrow wrote (`fixtures/make.py`).

use dataset::Columns;
use serde::Deserialize;

use crate::{
    fixture,
    tables::{self, Rows, all, columns, none},
};

#[derive(Deserialize)]
struct Expected {
    text: Vec<String>,
    label: Vec<String>,
    /// The labels of three other columns.
    grade: Vec<i64>,
    flag: Vec<bool>,
    sparse: Vec<Option<String>>,
}

fn open(name: &str, columns: &Columns) -> Rows {
    let path = format!("{}/tests/fixtures/tables/{name}", env!("CARGO_MANIFEST_DIR"));
    all(tables::open(path, columns, true).unwrap(), 4).unwrap()
}

#[test]
fn pandas_output_is_read() {
    let expected: Expected = fixture("tables.json");
    let rows = |labels: Vec<Option<String>>| -> Rows {
        expected.text.iter().cloned().zip(labels).collect()
    };
    let labels = rows(expected.label.iter().cloned().map(Some).collect());
    for name in [
        "pandas.csv",
        "pandas.tsv",
        "pandas.jsonl",
        "pandas.parquet",
        "category.parquet",
        "large.parquet",
        "view.parquet",
    ] {
        // TSV has no line breaks, which pandas would quote.
        if name == "pandas.tsv" {
            let spaces = |text: &String| text.replace(['\t', '\r', '\n', '"'], " ");
            let read = open(name, &none());
            assert!(
                read.iter().map(|row| &row.0).eq(&expected
                    .text
                    .iter()
                    .map(spaces)
                    .collect::<Vec<_>>())
            );
            continue;
        }
        assert_eq!(open(name, &none()), labels, "{name}");
    }
    let some = |labels: Vec<String>| rows(labels.into_iter().map(Some).collect());
    let grades = some(expected.grade.iter().map(i64::to_string).collect());
    // In CSV pandas writes booleans as Python does.
    let flags = some(expected.flag.iter().map(bool::to_string).collect());
    for name in ["pandas.jsonl", "pandas.parquet"] {
        assert_eq!(open(name, &columns("text", "grade")), grades, "{name}");
        assert_eq!(open(name, &columns("text", "flag")), flags, "{name}");
        let sparse = rows(expected.sparse.clone());
        assert_eq!(open(name, &columns("text", "sparse")), sparse, "{name}");
    }
    assert_eq!(open("pandas.csv", &columns("text", "grade")), grades);
    assert_eq!(open("pandas.csv", &columns("text", "sparse")), rows(expected.sparse.clone()));
}

#[test]
fn null_is_a_missing_text_or_label() {
    let row = |text: &str, label: Option<&str>| (text.to_owned(), label.map(str::to_owned));
    let expected = [row("a", Some("-8")), row("", Some("7")), row("c", None)];
    assert_eq!(open("null.parquet", &none()), expected);
}
