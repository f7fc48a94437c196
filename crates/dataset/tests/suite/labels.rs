//! Spelling of labels, which is the same in every format.

use std::{fs, path::Path};

use dataset::{
    Added, Format, LabeledFiles, LabeledText, MANIFEST_FILE, PreparedSplit, SplitConfig,
    TableOptions, TableReader, TableWriter,
};
use serde_json::json;

use crate::{assert_reused, labeled, prepare};

/// Texts of a table, as many as labels.
fn texts(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|row| format!("text {row}"))
}

/// Reads the labels from a CSV, a TSV with a header, a TSV without one and JSON Lines of
/// strings.
fn in_every_format(labels: &[&str]) -> [LabeledText; 4] {
    let rows = || labels.iter().zip(texts(labels.len()));
    let csv = rows().map(|(label, text)| format!("{text},\"{label}\"\n"));
    let tsv = rows().map(|(label, text)| format!("{text}\t{label}\n"));
    let bare = rows().map(|(label, text)| format!("{label}\t{text}\n"));
    let jsonl = rows().map(|(label, text)| format!("{}\n", json!({"text": text, "label": label})));
    let dir = tempfile::tempdir().unwrap();
    [
        ("a.csv", format!("text,label\n{}", csv.collect::<String>())),
        ("a.tsv", format!("text\tlabel\n{}", tsv.collect::<String>())),
        ("SMS", bare.collect()),
        ("a.jsonl", jsonl.collect()),
    ]
    .map(|(name, bytes)| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        LabeledFiles::new(path).read().unwrap()
    })
}

#[track_caller]
fn check(labels: &[&str], expected: &[&str], classes: &[usize]) {
    for data in in_every_format(labels) {
        assert_eq!(data.labels(), expected, "{labels:?}");
        let found: Vec<usize> = data.examples().iter().map(|example| example.label).collect();
        assert_eq!(found, classes, "{labels:?}");
    }
}

#[test]
fn white_space_and_unicode_form_do_not_separate_classes() {
    check(&["ham", "spam", "spam ", " ham"], &["ham", "spam"], &[0, 1, 1, 0]);
    check(&["ham", "spam\u{a0}", "spam", "ham"], &["ham", "spam"], &[0, 1, 1, 0]);
    check(&["\u{3000}a", "b", "a", "b "], &["a", "b"], &[0, 1, 0, 1]);
    check(&["caf\u{e9}", "bar", "cafe\u{301}", "bar"], &["bar", "caf\u{e9}"], &[1, 0, 1, 0]);
}

#[test]
fn whole_floats_are_integers_and_sorted_by_value() {
    check(&["0.0", "1.0", "1.0", "0.0"], &["0", "1"], &[0, 1, 1, 0]);
    check(&["10", "9", "10.0", "9.00"], &["9", "10"], &[1, 0, 1, 0]);
    check(&["-1", "1e0", "-1.0", "1"], &["-1", "1"], &[0, 1, 0, 1]);
    check(&["2.0", "1.5", "2.0", "1.5"], &["1.5", "2.0"], &[1, 0, 1, 0]);
    check(&["1.0", "none", "1.0", "none"], &["1.0", "none"], &[0, 1, 0, 1]);
}

#[test]
fn booleans_have_one_spelling() {
    check(&["True", "False", "true", "FALSE"], &["false", "true"], &[1, 0, 1, 0]);
    check(&["TRUE", "no", "true", "no"], &["no", "true"], &[1, 0, 1, 0]);
}

#[test]
fn json_numbers_and_booleans_are_labels() {
    let read = |labels: [&str; 4]| {
        let rows = labels.iter().zip(texts(4));
        let rows: String = rows
            .map(|(label, text)| format!("{{\"text\":\"{text}\",\"label\":{label}}}\n"))
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        fs::write(&path, rows).unwrap();
        let data = LabeledFiles::new(path).read().unwrap();
        (data.labels().to_vec(), data.counts().without_label)
    };
    let labels = |labels: [&str; 2]| labels.map(str::to_owned).to_vec();
    assert_eq!(read(["0.0", "1.0", "null", "0"]), (labels(["0", "1"]), 1));
    assert_eq!(read(["true", "false", "\"True\"", "\" \""]), (labels(["false", "true"]), 1));
    assert_eq!(read(["1e1", "9", "9.0", "10"]), (labels(["9", "10"]), 0));
    assert_eq!(read(["0.5", "1", "0.5", "1"]), (labels(["0.5", "1"]), 0));
}

#[test]
fn floats_in_parquet_are_labels() {
    let dir = tempfile::tempdir().unwrap();
    let [csv, parquet] = ["a.csv", "a.parquet"].map(|name| dir.path().join(name));
    fs::write(&csv, format!("text\n{}", texts(5).map(|text| text + "\n").collect::<String>()))
        .unwrap();
    let mut reader = TableReader::open(&csv, &TableOptions::default(), false).unwrap();
    let mut writer = TableWriter::create(&parquet, Some(Format::Parquet)).unwrap();
    let chunk = reader.next_chunk(10).unwrap().unwrap();
    let labels = vec![Some(1.0), Some(0.0), None, Some(1.0), Some(0.0)];
    writer.write(&chunk, &[("label".to_owned(), Added::Floats(labels))]).unwrap();
    writer.finish().unwrap();
    let data = LabeledFiles::new(parquet).read().unwrap();
    assert_eq!(data.labels(), ["0", "1"]);
    assert_eq!(data.counts().without_label, 1);
}

#[test]
fn separate_files_may_spell_labels_differently() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let write = |name: &str, labels: &[&str]| {
        let rows = labels.iter().zip(texts(labels.len()));
        let rows: String = rows.map(|(label, text)| format!("{text},{label}\n")).collect();
        fs::write(path(name), format!("text,label\n{rows}")).unwrap();
    };
    let classes = |train: &[&str], test: &[&str]| {
        write("train.csv", train);
        write("test.csv", test);
        let files =
            LabeledFiles { test: Some(path("test.csv")), ..LabeledFiles::new(path("train.csv")) };
        let config = SplitConfig { balance: false, ..SplitConfig::default() };
        let split = files.read().unwrap().split(&config).unwrap();
        split.test.iter().map(|example| example.label).collect::<Vec<_>>()
    };
    let twelve: Vec<String> = (0..24).map(|row| (row % 12).to_string()).collect();
    let twelve: Vec<&str> = twelve.iter().map(String::as_str).collect();
    assert_eq!(classes(&twelve, &["10.0", "2", "11"]), [10, 2, 11]);
    assert_eq!(classes(&["a", "b", "a", "b", "a"].repeat(4), &[" b", "a "]), [1, 0]);
    assert_eq!(classes(&["true", "false"].repeat(10), &["True", "FALSE"]), [1, 0]);
}

/// Twelve numeric classes, whose order is not alphabetical.
fn twelve_classes(path: &Path) {
    let rows: String = (0..240).map(|row| format!("text {row},{}\n", row % 12)).collect();
    fs::write(path, format!("text,label\n{rows}")).unwrap();
}

#[test]
fn kept_split_preserves_numeric_order() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("a.csv"), dir.path().join("out"));
    twelve_classes(&path);
    let files = LabeledFiles::new(path);
    let config = SplitConfig { stratify: true, ..SplitConfig::default() };
    let prepared = prepare(&files, &config, &out).unwrap();
    let expected: Vec<String> = (0..12).map(|label| label.to_string()).collect();
    assert_eq!(prepared.split.labels, expected);
    for example in &prepared.split.train {
        assert_eq!(example.label, example.row % 12);
    }
    assert!(out.join(MANIFEST_FILE).is_file());
    assert_reused(&PreparedSplit::new(&files, &config, &out).unwrap(), &prepared);
}

#[test]
fn labels_in_memory_are_normalized_too() {
    let data = labeled(["10", "9.0", " 9", "10.0"]).unwrap();
    assert_eq!(data.labels(), ["9", "10"]);
    assert_eq!(data.counts().examples, [2, 2]);
}
