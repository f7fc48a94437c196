//! Notes and errors about readable data that is probably wrong.

use std::fs;

use dataset::{Duplicates, Error, Example, LabeledFiles, LabeledText, Result, Split};

use crate::labeled;

/// Reads a file of this name and content.
fn read(name: &str, content: &str) -> Result<LabeledText> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    LabeledFiles::new(path).read()
}

#[track_caller]
fn refused(name: &str, content: &str, expected: &[&str]) -> Error {
    let error = read(name, content).unwrap_err();
    let message = error.to_string();
    for words in expected {
        assert!(message.contains(words), "{words:?} is not in {message}");
    }
    assert!(message.contains(name) && message.len() < 600, "{message}");
    error
}

const ROWS: &str = "see you,ham\nwin now,spam\nat home,ham\nclaim it,spam\n";

#[test]
fn a_first_line_that_looks_like_a_header_is_named() {
    let rows = ROWS.replace("see you,ham", "ham\tsee you").replace("at home,ham", "ham\tat home");
    let rows = rows.replace("win now,spam", "spam\twin now").replace("claim it,spam", "spam\tx");
    for header in ["label\tmessage", "v1\tv2", "Category\tMessage", "sentiment\tthe text of it"] {
        let error =
            refused("SMS", &format!("{header}\n{rows}"), &["line 1: it looks like a header"]);
        assert!(matches!(error, Error::Header { line: 1, .. }));
    }
    // A class may have the name of a column.
    let data = read("SMS", &format!("spam\tmessage\n{rows}")).unwrap();
    assert_eq!(data.labels(), ["ham", "spam"]);
}

#[test]
fn labels_of_single_rows_are_refused_in_every_format() {
    let text = |row: usize| format!("a long text with number {row} of many");
    let csv = |rows: &[(String, &str)]| {
        let rows = rows.iter().map(|(label, text)| format!("{text},{label}\n"));
        format!("text,label\n{}", rows.collect::<String>())
    };
    // Text and label are swapped, and one text occurs twice.
    let classes = ["ham", "spam"];
    let mut swapped: Vec<_> = (0..60).map(|row| (text(row), classes[row % 2])).collect();
    swapped.push((text(7), "ham"));
    let says = ["59 of 60 labels have a single row", "only 2 different texts", "swapped"];
    refused("swapped.csv", &csv(&swapped), &says);
    let tsv: String = swapped.iter().map(|(label, text)| format!("{label}\t{text}\n")).collect();
    refused("reversed.tsv", &tsv, &says);
    // A column of numbers.
    let numbers: Vec<_> = (0..10).map(|row| (row.to_string(), "text")).collect();
    refused("ids.csv", &csv(&numbers), &["10 of 10 labels have a single row"]);
    let long: Vec<_> = (0..3000).map(|row| ("x".repeat(2000) + &text(row), "ham")).collect();
    refused("long.csv", &csv(&long), &["3000 of 3000 labels"]);
    // Rare classes beside frequent ones are accepted, and so is a small table.
    let rare = |row: usize| if row < 200 { (row % 2).to_string() } else { format!("rare {row}") };
    assert_eq!(labeled((0..220).map(rare)).unwrap().counts().singletons.len(), 20);
    assert!(labeled(["a", "b"]).is_ok());
    assert!(matches!(labeled(["a", "b", "c"]), Err(Error::SingleRowLabels { path: None, .. })));
}

#[test]
fn labels_that_look_alike_are_found() {
    let alike = |labels: &[&str]| labeled(labels).unwrap().counts().alike.clone();
    assert_eq!(
        alike(&["Spam", "spam", "ham", "SPAM", "ham", "Spam", "spam"]),
        [["SPAM", "Spam", "spam"]]
    );
    assert_eq!(alike(&["not spam", "not  spam", "not spam"]), [["not  spam", "not spam"]]);
    assert_eq!(alike(&["1", "01", "1", "2"]), [["01", "1"]]);
    assert!(alike(&["ham", "spam", "ham "]).is_empty());
}

#[test]
fn texts_with_different_labels_are_counted() {
    let conflicts = |rows: &[(&str, &str)]| {
        LabeledText::new(rows.iter().copied()).unwrap().counts().conflicting_texts
    };
    assert_eq!(conflicts(&[("a", "x"), ("b", "x"), ("a", "y"), ("b", "z")]), 1);
    assert_eq!(conflicts(&[("a", "x"), ("b", " x "), ("b", "x"), ("a", "y"), ("b", "y")]), 2);
    assert_eq!(conflicts(&[("a", "x"), ("a", "x"), ("b", "y")]), 0);
    assert_eq!(conflicts(&[("a", "x"), ("b", "X")]), 0);
}

#[test]
fn duplicates_are_counted_within_and_across_sets() {
    let set = |texts: &[&str]| {
        let example =
            |(row, text): (usize, &&str)| Example { label: 0, text: (*text).to_owned(), row };
        texts.iter().enumerate().map(example).collect::<Vec<_>>()
    };
    let duplicates = |train: &[&str], validation: &[&str], test: &[&str]| {
        let labels = vec!["a".to_owned()];
        let [train, validation, test] = [train, validation, test].map(set);
        Split { labels, train, validation, test }.duplicates()
    };
    assert_eq!(duplicates(&["a", "b"], &["c"], &["d"]), Duplicates::default());
    assert_eq!(
        duplicates(&["a", "a", " a", "b"], &["c", "c"], &["d", "a", "a"]),
        Duplicates { train: 2, validation: 1, test: 1, test_in_train: 2, ..Duplicates::default() }
    );
    assert_eq!(
        duplicates(&["a"], &["a", "c"], &["c", "a"]),
        Duplicates {
            validation_in_train: 1,
            test_in_train: 1,
            test_in_validation: 2,
            ..Duplicates::default()
        }
    );
}
