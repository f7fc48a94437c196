//! TSV files without a header.

use std::fs;

use dataset::{Error, LabeledText, Result, normalize_label};
use proptest::prelude::*;

/// Reads a file with these bytes.
fn read(bytes: impl AsRef<[u8]>) -> Result<LabeledText> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("examples.tsv");
    fs::write(&path, bytes).unwrap();
    LabeledText::open(path)?.read()
}

/// (label, text, row) of each example.
fn triples(data: &LabeledText) -> Vec<(&str, &str, usize)> {
    data.examples()
        .iter()
        .map(|example| (&*data.labels()[example.label], &*example.text, example.row))
        .collect()
}

#[test]
fn quotes_and_everything_else_is_text() {
    let data = read(
        "ham\t\"lone quote\nspam\t\"both\" \nham\t NA, null ,\\n#\u{92}\n#\tx\nham\t1.50\nham\t",
    )
    .unwrap();
    assert_eq!(
        triples(&data),
        [
            ("ham", "\"lone quote", 0),
            ("spam", "\"both\" ", 1),
            ("ham", " NA, null ,\\n#\u{92}", 2),
            ("#", "x", 3),
            ("ham", "1.50", 4),
        ]
    );
}

#[test]
fn line_endings_blank_lines_and_byte_order_mark() {
    let expected = [("ham", "a", 0), ("spam", "b", 2), ("ham", "c", 5)];
    let unix = read("ham\ta\n\nspam\tb\n\n\nham\tc\n\n\n").unwrap();
    assert_eq!(triples(&unix), expected);
    let windows = read("\u{feff}ham\ta\r\n\r\nspam\tb\r\n\r\n\r\nham\tc").unwrap();
    assert_eq!(triples(&windows), expected);
    let leading = read("\n\nham\ta\nspam\tb").unwrap();
    assert_eq!(triples(&leading), [("ham", "a", 2), ("spam", "b", 3)]);
}

#[test]
fn malformed_lines_are_named() {
    let check = |bytes: &[u8], expected: &str| {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, Error::Line { .. } | Error::NotUtf8 { .. }));
        let message = error.to_string();
        assert!(message.ends_with(expected), "{message}");
        assert!(message.contains("examples.tsv, line "), "{message}");
    };
    check(b"ham\ta\n\nspam b\n", "line 3: there is no tab between a label and a text");
    check(b"ham\ta\n\tb\n", "line 2: there is no label before the tab");
    check(b"ham\ta\tb\tc\n", "line 1: there are 3 tabs; replace the tabs of the text by spaces");
    check(b"ham\ta\nspam\tcost \xa35\n", "line 2: the byte 0xa3 is not UTF-8");
}

#[test]
fn malformed_files_are_named() {
    let check = |bytes: &[u8], expected: &str| {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, Error::Table { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(b"", "examples.tsv: the file has no examples");
    check(b"\n\r\n", "the file has no examples");
    let error = read(b"ham\ta\nham\tb\n").unwrap_err();
    let Error::TooFewLabels { path: Some(path), label } = &error else { panic!("{error:?}") };
    assert_eq!((path.ends_with("examples.tsv"), label.as_deref()), (true, Some("ham")));

    let dir = tempfile::tempdir().unwrap();
    let error = LabeledText::open(dir.path().join("absent.tsv")).unwrap_err();
    assert!(matches!(error, Error::Storage(_)) && error.to_string().contains("absent.tsv"));
    let directory = LabeledText::open(dir.path()).and_then(|files| files.read());
    let error = directory.unwrap_err().to_string();
    assert!(error.contains("the directory has no CSV, TSV, JSON or Parquet file"), "{error}");
}

/// A label. One of white space only is missing, as in every format.
fn label() -> impl Strategy<Value = String> {
    "[^\0\t\r\n\u{feff}]{1,3}".prop_filter("blank", |label| !label.trim().is_empty())
}

proptest! {
    #[test]
    fn written_tables_round_trip(
        lines in prop::collection::vec((label(), "[^\0\t\r\n]{0,40}"), 1..50),
        crlf: bool,
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        // More examples, so that the labels are neither too few nor each of a single row.
        let more = ["x", "y"].map(|label| (label.to_owned(), "\"".to_owned()));
        let lines: Vec<_> = more.into_iter().cycle().take(200).chain(lines).collect();
        let text: String =
            lines.iter().map(|(label, text)| format!("{label}\t{text}{end}")).collect();
        let data = read(text).unwrap();
        let lines = lines.iter().map(|(label, text)| (normalize_label(label), text)).enumerate();
        let lines: Vec<_> = lines.collect();
        let used = lines.iter().filter(|(_, (label, text))| {
            !label.is_empty() && !dataset::is_empty_text(text)
        });
        let expected: Vec<_> =
            used.map(|(row, (label, text))| (label.as_str(), text.as_str(), *row)).collect();
        prop_assert_eq!(triples(&data), expected);
    }
}
