//! Damaged tables.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use dataset::{Columns, Error, Format, LabeledFiles, Lines, Result, TableOptions, TableReader};

use crate::tables::{all, columns, none, open, reader};

/// Checks that reading these bytes fails with this message.
fn check(bytes: impl AsRef<[u8]>, format: Format, expected: &str) {
    let bytes = bytes.as_ref().to_vec();
    let read = reader(bytes, format, &none(), true).and_then(|reader| all(reader, 10));
    let error = read.unwrap_err().to_string();
    assert!(error.contains(expected), "{error}\nexpected: {expected}");
    assert!(error.starts_with("standard input"), "{error}");
}

fn table(name: &str) -> String {
    format!("{}/tests/fixtures/tables/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Reads a whole file.
fn read_all(path: impl AsRef<Path>, columns: &Columns) -> Result<usize> {
    open(path.as_ref(), columns, true).and_then(|reader| all(reader, 3)).map(|rows| rows.len())
}

#[test]
fn ragged_rows_are_named_with_both_counts() {
    check(
        "text,label\n\"a\nb\",x\n\n\"c\nd\",e,f\n",
        Format::Csv,
        "line 5: it has 3 cells and the header has 2",
    );
    check(
        "text,label\r\na,x\r\n\r\nb\r\n",
        Format::Csv,
        "line 4: it has 1 cells and the header has 2",
    );
    check("text\tlabel\na\tx\nb\n", Format::Tsv, "line 3: it has 1 cells and the header has 2");
    check("ham\ta\nham\ta\tb\n", Format::Tsv, "line 2: there are 2 tabs");
    check("ham\ta\n\tb\n", Format::Tsv, "line 2: there is no label before the tab");
}

#[test]
fn bytes_that_are_not_utf8_are_named() {
    let bad = "is not UTF-8";
    let latin = b"text,label\na,x\n\"caf\xe9\",y\n";
    check(latin, Format::Csv, &format!("line 3: the byte 0xe9 {bad}"));
    check(b"ham\ta\nham\t\xff\n", Format::Tsv, &format!("line 2: the byte 0xff {bad}"));
    check(b"{\"text\":\"\xc3\"}\n", Format::Jsonl, &format!("line 1: the byte 0xc3 {bad}"));
    check("text,label\na,x\nb\0,y\n", Format::Csv, "line 3: the text has a NUL byte");
    check("ham\ta\0\n", Format::Tsv, "line 1: the text has a NUL byte");
    check(r#"{"text": "a\u0000"}"#, Format::Jsonl, "line 1: the text has a NUL byte");
    check("text,label\na,x\nb,y\0\n", Format::Csv, "line 3: the label has a NUL byte");
    check("h\0am\ta\n", Format::Tsv, "line 1: the label has a NUL byte");
    check(r#"{"text": "a", "label": "\u0000"}"#, Format::Jsonl, "the label has a NUL byte");
    // Control characters are escaped in messages.
    check("{\"text\":[\"\u{202e}\"]}", Format::Jsonl, r#"is ["\u{202e}"]; it must be"#);

    let nul = "line 2: the text has a NUL byte";
    let mut lines = Lines::new("a\nb\0".as_bytes(), "standard input".into());
    let mut line = String::new();
    assert!(lines.next_text(&mut line).unwrap());
    let error = lines.next_text(&mut line).unwrap_err().to_string();
    assert!(error.contains(nul), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "ham\ta\nspam\tb\0\n").unwrap();
    let error = LabeledFiles::new(file.path()).read().unwrap_err().to_string();
    assert!(error.contains(nul), "{error}");
}

#[test]
fn bad_json_is_named_with_its_column() {
    check("{\"text\":\"a\"}\n{\"text\":\"b\",}\n", Format::Jsonl, "line 2: not a JSON object");
    check("{\"text\":\"b\",}\n", Format::Jsonl, "column 13: trailing comma");
    check("{\"text\":\"b\"} x\n", Format::Jsonl, "column 14: trailing characters");
    check("[1]\n", Format::Jsonl, "expected a JSON object");
    check("\n5\n", Format::Jsonl, "line 2: not a JSON object");
    check("{\"text\":", Format::Jsonl, "EOF while parsing");
    check(r#"{"text": 5}"#, Format::Jsonl, "the text \"text\" is 5; it must be a string");
    check(r#"{"text": "\ud800"}"#, Format::Jsonl, "line 1: the text \"text\" is not text");
    check(r#"{"text":"a","label":[1]}"#, Format::Jsonl, "the label \"label\" is [1]");
    check(r#"{"text":"a","label":{}}"#, Format::Jsonl, "a string, a number or a boolean");
    check(r#"{"txt":"a"}"#, Format::Jsonl, "the columns are \"txt\"");
    check(r#"{"text":"a","text":"b"}"#, Format::Jsonl, "the key \"text\" twice");
    let deep = format!("{{\"text\":\"a\",\"more\":{}1{}}}", "[".repeat(99_999), "]".repeat(99_999));
    assert_eq!(all(reader(deep, Format::Jsonl, &none(), true).unwrap(), 1).unwrap().len(), 1);
}

#[test]
fn ambiguous_or_incomplete_headers_are_rejected() {
    check("text,label,text\na,x,b\n", Format::Csv, "line 1: the header has the column \"text\"");
    check("text\tlabel\tlabel\n", Format::Tsv, "the column \"label\" twice");
    check("Text,TEXT,label\n", Format::Csv, "\"Text\" and \"TEXT\" could both be the text");
    check("ham,hello\n", Format::Csv, "no column \"text\"; the columns are \"ham\", \"hello\"");
    let same = reader("a,b\n1,2\n", Format::Csv, &columns("a", "a"), true).err().unwrap();
    assert!(same.to_string().contains("cannot both be the column \"a\""), "{same}");
    check(
        "text,label\n\"a,x\nb,y\n",
        Format::Csv,
        "line 2: the record that begins here has a quote",
    );
}

/// Checks that reading a source larger than memory fails with this message.
fn check_long(source: impl Read + Send + 'static, format: Format, expected: &str) {
    let options = TableOptions::default().format(format);
    let read = TableReader::from_reader(source, "standard input", &options, false)
        .and_then(|reader| all(reader, 10));
    let error = read.unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn lines_over_16_mib_are_rejected() {
    let long = || io::repeat(b'a').take(50 << 20);
    let begun = |begin: &'static str| begin.as_bytes().chain(long());
    check_long(long(), Format::Tsv, "line 1: it is longer than 16 MiB");
    check_long(begun("ham\ta\nham\t"), Format::Tsv, "line 2: it is longer than 16 MiB");
    check_long(begun("text\n\"a\"\n"), Format::Csv, "line 3: it is longer than 16 MiB");
    check_long(begun("{\"text\":\""), Format::Jsonl, "line 1: it is longer than 16 MiB");
    // A quote that is never closed: an endless line, and many lines.
    let quoted = "text\na\n\"".as_bytes().chain(io::repeat(b'\n'));
    check_long(quoted, Format::Csv, "line 3: it is longer than 16 MiB");
}

#[test]
fn truncated_or_corrupted_parquet_gives_an_error_or_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.parquet");
    let intact = fs::read(table("pandas.parquet")).unwrap();
    let rows = read_all(table("pandas.parquet"), &none()).unwrap();
    for size in [0, 1, 4, 8, 100, intact.len() / 2, intact.len() - 9, intact.len() - 1] {
        fs::write(&path, &intact[..size]).unwrap();
        let error = read_all(&path, &none()).unwrap_err();
        assert!(matches!(error, Error::Table { .. }));
        let message = error.to_string();
        assert!(message.contains("damaged.parquet") && message.contains("as Parquet"), "{message}");
    }
    let mut refused = 0;
    for place in (4..intact.len()).step_by(7) {
        let mut changed = intact.clone();
        changed[place] ^= 0xff;
        fs::write(&path, &changed).unwrap();
        match read_all(&path, &none()) {
            Ok(read) => assert!(read <= rows),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
}

#[test]
fn missing_or_mistyped_parquet_columns_are_rejected() {
    let error = |text: &str, label: &str| {
        read_all(table("pandas.parquet"), &columns(text, label)).unwrap_err().to_string()
    };
    assert!(error("body", "label").contains("no column \"body\"; the columns are \"id\""));
    assert!(error("id", "label").contains("\"id\" is of the type i64; a text must be"));
    assert!(
        read_all(table("pandas.parquet"), &columns("text", "score")).is_ok(),
        "floats are labels"
    );
    assert!(error("text", "text").contains("cannot both be"));
    let twice = read_all(table("twice.parquet"), &none()).unwrap_err().to_string();
    assert!(twice.contains("twice.parquet: the header has the column \"text\" twice"), "{twice}");
}

#[test]
fn parquet_text_that_is_not_utf8_is_named_with_its_row() {
    let error = read_all(table("not-utf8.parquet"), &none()).unwrap_err().to_string();
    let expected =
        "not-utf8.parquet, row 5: the column \"text\" cannot be decoded here or in the next 3 rows";
    assert!(error.contains(expected), "{error}");
    let error = read_all(table("nul.parquet"), &none()).unwrap_err().to_string();
    assert!(error.contains("nul.parquet, row 2: the text has a NUL byte"), "{error}");
}
