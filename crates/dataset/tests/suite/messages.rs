//! Reading tables of messages.

use std::fs;

use dataset::{Error, Message, Result, read_messages};
use proptest::prelude::*;

/// Reads a file with these bytes.
fn read(bytes: impl AsRef<[u8]>) -> Result<Vec<Message>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages.tsv");
    fs::write(&path, bytes).unwrap();
    read_messages(&path)
}

/// (label, text, row) of each message.
fn triples(messages: &[Message]) -> Vec<(&str, &str, usize)> {
    messages.iter().map(|m| (m.label.as_str(), m.text.as_str(), m.row)).collect()
}

#[test]
fn quotes_and_everything_else_is_text() {
    let messages = read(
        "ham\t\"lone quote\nspam\t\"both\" \nham\t NA, null ,\\n#\u{92}\n#\t\nham\t1.50\nham\t",
    )
    .unwrap();
    assert_eq!(
        triples(&messages),
        [
            ("ham", "\"lone quote", 0),
            ("spam", "\"both\" ", 1),
            ("ham", " NA, null ,\\n#\u{92}", 2),
            ("#", "", 3),
            ("ham", "1.50", 4),
            ("ham", "", 5),
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
fn bad_lines_are_named() {
    let check = |bytes: &[u8], expected: &str| {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, Error::Line { .. }));
        let message = error.to_string();
        assert!(message.ends_with(expected), "{message}");
        assert!(message.contains("messages.tsv, line "), "{message}");
    };
    check(b"ham\ta\n\nspam b\n", "line 3: there is no tab between a label and a text");
    check(b"ham\ta\n\tb\n", "line 2: there is no label before the tab");
    check(b"ham\ta\tb\tc\n", "line 1: there are 3 tabs; replace those of the text by spaces");
    check(
        b"ham\ta\nspam\tcost \xa35\n",
        "line 2: the byte 0xa3 is not UTF-8; save the file as UTF-8",
    );
}

#[test]
fn bad_files_are_named() {
    let check = |bytes: &[u8], expected: &str| {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, Error::Table { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(b"", "messages.tsv: the file has no messages");
    check(b"\n\r\n", "the file has no messages");
    check(b"ham\ta\nham\tb\n", "every message has the label \"ham\"");

    let dir = tempfile::tempdir().unwrap();
    let error = read_messages(dir.path().join("absent.tsv")).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }));
    let message = error.to_string();
    assert!(message.contains("absent.tsv") && message.contains("cargo xtask fetch-dataset"));
    assert!(matches!(read_messages(dir.path()).unwrap_err(), Error::Read { .. }));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        lines in prop::collection::vec(("[^\0\t\r\n\u{feff}]{1,3}", "[^\0\t\r\n]{0,40}"), 1..50),
        crlf: bool,
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        // Two labels more, so that there are never too few.
        let more = [("x".to_owned(), String::new()), ("y".to_owned(), "\"".to_owned())];
        let lines: Vec<_> = lines.into_iter().chain(more).collect();
        let text: String =
            lines.iter().map(|(label, text)| format!("{label}\t{text}{end}")).collect();
        let messages = read(text).unwrap();
        prop_assert_eq!(messages.len(), lines.len());
        for (row, (message, (label, text))) in messages.into_iter().zip(lines).enumerate() {
            prop_assert_eq!(message, Message { label, text, row });
        }
    }
}
