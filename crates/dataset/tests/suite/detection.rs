//! Separator, quoting, header, encoding and container, detected or given.

use std::{
    fs,
    io::{Cursor, Write},
};

use dataset::{
    Columns, Encoding, Error, LabeledFiles, Result, TableOptionError, TableOptions, TableReader,
};

use proptest::prelude::*;

use crate::tables::{Rows, all, columns, none};

/// Change of the options.
type Change = fn(&mut TableOptions);

fn read_with(bytes: &[u8], name: &str, options: &TableOptions) -> Result<(Rows, Vec<String>)> {
    let mut reader = TableReader::from_reader(Cursor::new(bytes.to_vec()), name, options, true)?;
    let mut notes = Vec::new();
    let mut rows = Rows::new();
    while let Some(chunk) = reader.next_chunk(2)? {
        rows.extend(chunk.texts().iter().cloned().zip(chunk.labels().iter().cloned()));
    }
    notes.extend(reader.take_notes());
    Ok((rows, notes))
}

fn read(bytes: impl AsRef<[u8]>, name: &str, columns: &Columns) -> Result<(Rows, Vec<String>)> {
    read_with(bytes.as_ref(), name, &TableOptions::with_columns(columns))
}

fn options(change: Change) -> TableOptions {
    let mut options = TableOptions::default();
    change(&mut options);
    options
}

fn rows(rows: &[(&str, &str)]) -> Rows {
    rows.iter().map(|(text, label)| ((*text).to_owned(), Some((*label).to_owned()))).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn utf16(text: &str, little: bool) -> Vec<u8> {
    let unit = |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(unit).collect()
}

/// The beginning of a tar archive with this magic number.
fn tar(magic: &[u8; 8]) -> Vec<u8> {
    let mut header = b"plain.csv".to_vec();
    header.resize(257, 0);
    header.extend_from_slice(magic);
    header.resize(512, 0);
    header.extend_from_slice(b"text,label\na,x\n");
    header
}

#[test]
fn separator_is_detected_and_reported() {
    let expected = rows(&[("a", "x"), ("b; c, d", "y")]);
    for (separator, name, note) in [
        (",", "a.csv", "a.csv: CSV, separator \",\", header, 3 columns"),
        (";", "a.csv", "a.csv: CSV, separator \";\", header, 3 columns"),
        ("|", "a.csv", "a.csv: CSV, separator \"|\", header, 3 columns"),
        ("\t", "a.csv", "a.csv: TSV, quoted cells, header, 3 columns"),
        (";", "a.txt", "a.txt: CSV, separator \";\", header, 3 columns"),
        ("|", "pipe", "pipe: CSV, separator \"|\", header, 3 columns"),
        (",", "a.tsv", "a.tsv: CSV, separator \",\", header, 3 columns"),
    ] {
        for (begin, end) in [("", "\n"), ("\u{feff}", "\r\n")] {
            let lines = ["id|text|label", "1|a|x", "", "2|\"b; c, d\"|y"];
            let file = lines.map(|line| line.replace('|', separator) + end).concat();
            let (read, notes) = read(begin.to_owned() + &file, name, &none()).unwrap();
            assert_eq!((read, notes), (expected.clone(), vec![note.to_owned()]), "{file:?}");
        }
    }
}

#[test]
fn requested_columns_decide_the_separator() {
    // There are more commas than semicolons.
    let file = "a,b;kind,of;body, or text\n1,2;x,y;one, two\n3,4;z,y;three, four\n";
    let (read, _) = read(file, "a.csv", &columns("body, or text", "kind,of")).unwrap();
    assert_eq!(read, rows(&[("one, two", "x,y"), ("three, four", "z,y")]));
}

#[test]
fn options_override_detection() {
    let read = |bytes: &str, name: &str, change: Change| {
        read_with(bytes.as_bytes(), name, &options(change)).map(|(rows, _)| rows)
    };
    let caret = "text^label\na,b^x\n\"c^d\"^y\n";
    let separator: Change = |options| options.separator = Some("^".parse().unwrap());
    assert_eq!(read(caret, "a.csv", separator).unwrap(), rows(&[("a,b", "x"), ("c^d", "y")]));
    let single = "text,label\n'it''s, \"this\"',x\n\"b,y\n";
    let quote: Change = |options| options.quote_char = Some("'".parse().unwrap());
    assert_eq!(
        read(single, "a.csv", quote).unwrap(),
        rows(&[("it's, \"this\"", "x"), ("\"b", "y")])
    );
    let open = "text,label\n\"b,y\nc\",x\n";
    let none: Change = |options| options.quote_char = Some("none".parse().unwrap());
    assert_eq!(read(open, "a.csv", none).unwrap(), rows(&[("\"b", "y"), ("c\"", "x")]));
    // Explicit options of a TSV without a header.
    let quoted: Change = |options| options.quote_char = Some("\"".parse().unwrap());
    assert_eq!(read("x\t\"a\tb\"\n", "SMS", quoted).unwrap(), rows(&[("a\tb", "x")]));
    let separator = TableOptionError::Separator { text: "ab".to_owned() };
    assert_eq!("ab".parse::<dataset::Separator>(), Err(separator));
    let encoding = TableOptionError::Encoding { name: "utf-7".to_owned() };
    assert_eq!("utf-7".parse::<Encoding>(), Err(encoding));
}

#[test]
fn separator_must_differ_from_the_quote_character() {
    let read = |file: &str, separator: Option<&str>, quote_char: &str| {
        let separator = separator.map(|text| text.parse().unwrap());
        let quote_char = Some(quote_char.parse().unwrap());
        let options = TableOptions { separator, quote_char, ..TableOptions::default() };
        read_with(file.as_bytes(), "a.csv", &options).map(|(rows, _)| rows)
    };
    for (file, separator, quote_char) in [
        ("text,label\na,x\n", None, ","),
        ("text,label\n\"a, b\",x\nc,y\n", None, ","),
        ("text,label\na,x\n", Some(","), ","),
        ("text;label\na;x\n", Some(","), ","),
        ("text;label\na;x\n", None, ";"),
        ("sep='\ntext'label\na'x\n", None, "'"),
    ] {
        let character = quote_char.chars().next().unwrap();
        let path = "a.csv".into();
        let expected = TableOptionError::SeparatorIsQuoteChar { path, character };
        match read(file, separator, quote_char).unwrap_err() {
            Error::TableOption(error) => assert_eq!(error, expected),
            error => panic!("{file:?}: {error}"),
        }
    }
    let expected = rows(&[("a,b", "x")]);
    assert_eq!(read("text,label\n|a,b|,|x|\n", None, "|").unwrap(), expected);
    assert_eq!(read("|text|,|label|\n|a,b|,|x|\n", None, "|").unwrap(), expected);
    assert_eq!(read("text;label\n,a;b,;x\n", None, ",").unwrap(), rows(&[("a;b", "x")]));
}

#[test]
fn given_encoding_is_never_overridden() {
    let text = "text,label\na,x\n";
    let marked = format!("\u{feff}{text}").into_bytes();
    let (wide, unmarked) = (utf16(text, true), utf16(text, false)[2..].to_vec());
    for (bytes, given, found) in [
        (&wide, Encoding::Utf8, Encoding::Utf16),
        (&wide, Encoding::Utf8Lossy, Encoding::Utf16),
        (&wide, Encoding::Latin1, Encoding::Utf16),
        (&unmarked, Encoding::Utf8, Encoding::Utf16),
        (&unmarked, Encoding::Latin1, Encoding::Utf16),
        (&marked, Encoding::Utf16, Encoding::Utf8),
        (&marked, Encoding::Latin1, Encoding::Utf8),
    ] {
        let options = TableOptions { encoding: Some(given), ..TableOptions::default() };
        let error = read_with(bytes, "a.csv", &options).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with(&format!("a.csv: expected the encoding {given}, got ")));
        let Error::Encoding { found: other, .. } = error else { panic!("{message}") };
        assert_eq!(other, found, "{message}");
    }
    for (bytes, encoding) in [
        (&wide, None),
        (&wide, Some(Encoding::Utf16)),
        (&unmarked, None),
        (&marked, None),
        (&marked, Some(Encoding::Utf8)),
        (&marked, Some(Encoding::Utf8Lossy)),
    ] {
        let options = TableOptions { encoding, ..TableOptions::default() };
        assert_eq!(read_with(bytes, "a.csv", &options).unwrap().0, rows(&[("a", "x")]));
    }
}

#[test]
fn options_of_other_formats_are_reported_as_ignored() {
    let given = options(|options| {
        options.separator = Some(",".parse().unwrap());
        options.quote_char = Some("'".parse().unwrap());
        options.no_header = true;
        options.encoding = Some(Encoding::Utf8);
    });
    let json = b"{\"text\":\"a\",\"label\":\"x\"}\n";
    let (_, notes) = read_with(json, "a.jsonl", &given).unwrap();
    let ignored = "ignored options, which do not apply to";
    let expected = format!("a.jsonl: {ignored} JSON: separator, quote-char, no-header");
    assert_eq!(notes[1..], [expected]);
    let parquet =
        fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tables/category.parquet"));
    let parquet = parquet.unwrap();
    let mut reader =
        TableReader::from_reader(Cursor::new(parquet.clone()), "a.parquet", &given, false).unwrap();
    let expected =
        format!("a.parquet: {ignored} Parquet: separator, quote-char, no-header, encoding");
    assert_eq!(reader.take_notes()[1..], [expected]);
    let none = TableOptions::default();
    let mut reader =
        TableReader::from_reader(Cursor::new(parquet), "a.parquet", &none, false).unwrap();
    assert_eq!(reader.take_notes().len(), 1);
}

#[test]
fn headerless_file_is_read_on_request() {
    let read = |bytes: &str, name: &str, change: Change| {
        read_with(bytes.as_bytes(), name, &options(change)).map(|(rows, _)| rows)
    };
    let plain: Change = |options| options.no_header = true;
    let expected = rows(&[("a", "x"), ("b", "y")]);
    for (file, name) in [("x,a\ny,b\n", "a.csv"), ("x;a\ny;b\n", "a.txt"), ("x\ta\ny\tb\n", "a")] {
        assert_eq!(read(file, name, plain).unwrap(), expected, "{file:?}");
    }
    // Even if the first line has names of columns.
    assert_eq!(
        read("label,text\nx,a\n", "a.csv", plain).unwrap(),
        rows(&[("text", "label"), ("a", "x")])
    );
    assert_eq!(read("label\ttext\n", "a.tsv", plain).unwrap(), rows(&[("text", "label")]));
    let numbered: Change = |options| {
        options.no_header = true;
        options.columns = columns("3", "1");
    };
    assert_eq!(read("x,1,a\ny,2,b\n", "a.csv", numbered).unwrap(), expected);
    let error = read("x,1,a\n", "a.csv", plain).unwrap_err().to_string();
    assert!(error.contains("the columns are \"1\", \"2\", \"3\""), "{error}");
    let error = read("x,1,a\ny,b\n", "a.csv", numbered).unwrap_err().to_string();
    assert!(error.contains("line 2: it has 2 cells and the first record has 3"), "{error}");
}

#[test]
fn pandas_tsv_has_an_index_and_quoted_line_breaks() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tables/index.tsv");
    let data = LabeledFiles::new(path).text("text").label("label").read().unwrap();
    assert_eq!(data.labels(), ["art", "biology", "chess"]);
    assert_eq!(data.examples().len(), 30);
    assert_eq!(data.examples()[7].text, "He said \"b\",\nthen left.\tRow 7");
    let notes = data.notes().join("\n");
    assert!(notes.contains("index.tsv: TSV, quoted cells, header, 3 columns"), "{notes}");
    assert!(notes.contains("30 records span several lines, the longest 2 lines from line 2"));
}

#[test]
fn quotation_marks_of_a_tsv_are_text_if_quoting_would_lose_records() {
    let file = "text\tlabel\n\"open\tx\nplain\tx\n5\" disk\ty\nclosed\"\ty\n";
    let expected = rows(&[("\"open", "x"), ("plain", "x"), ("5\" disk", "y"), ("closed\"", "y")]);
    let (read_rows, notes) = read(file, "a.tsv", &none()).unwrap();
    assert_eq!(read_rows, expected);
    assert_eq!(notes, ["a.tsv: TSV, quotation marks are text, header, 2 columns"]);
    // One line each: quoted as pandas quotes.
    let file = "text\tlabel\n\"say \"\"hi\"\"\"\tx\n\"b\"\ty\n";
    assert_eq!(read(file, "a.tsv", &none()).unwrap().0, rows(&[("say \"hi\"", "x"), ("b", "y")]));
}

#[test]
fn malformed_quoting_is_an_error_with_its_line() {
    for (file, expected) in [
        ("text,label\n\"a\" b,x\n", "line 2: text follows the closing quote"),
        (
            "text,label\na,x\n\"b\nc\"d\",y\n",
            "line 4: text follows the closing quote of a cell that opens in line 3",
        ),
        ("text,label\na,\"x\"y\n", "line 2: text follows"),
        ("text,label\n\"a\"\",x\nb,y\n", "line 2: the record that begins here has a quote"),
        ("text;label\n\"a\"b;x\n", "line 2: text follows"),
        ("\"text\" ,label\na,x\n", "line 1: text follows"),
        ("text,label\n\"see you,x\nbye,y\n\"well,x\n", "line 4: text follows"),
    ] {
        let error = read(file, "a.csv", &none()).unwrap_err();
        assert!(matches!(error, Error::Quotes { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    // Not at the beginning of a cell, a quotation mark is text.
    let file = "text,label\n5\" disk,x\n a \"b\" ,y\n";
    assert_eq!(
        read(file, "a.csv", &none()).unwrap().0,
        rows(&[("5\" disk", "x"), (" a \"b\" ", "y")])
    );
}

#[test]
fn a_header_among_the_rows_is_named() {
    for (file, name) in [
        ("text,label\na,x\ntext,label\nb,y\n", "a.csv"),
        ("\u{feff}text,label\na,x\n\u{feff}text,label\nb,y\n", "a.csv"),
        ("\"text\";label\r\na;x\r\n\"text\";label\r\nb;y\r\n", "a.csv"),
        ("id\ttext\tlabel\n1\ta\tx\nid\ttext\tlabel\n", "a.tsv"),
        ("text,label\na,x\ntext,label\n", "a.txt"),
    ] {
        let error = read(file, name, &none()).unwrap_err().to_string();
        assert!(error.contains("line 3: it repeats the header"), "{error}");
    }
    for file in [
        "label\tmessage\nham\ta\nham\tb\nspam\tc\nspam\td\n",
        "v1\tv2\nham\ta\n",
        "Category\tbody\nham\ta\n",
        "kind\twords\nham\ta\nham\tb\nspam\tc\nspam\td\n",
    ] {
        let path = tempfile::NamedTempFile::new().unwrap();
        fs::write(path.path(), file).unwrap();
        let error = LabeledFiles::new(path.path()).read().unwrap_err();
        assert!(matches!(error, Error::Header { line: 1, .. }), "{error}");
        assert!(error.to_string().contains("line 1: it looks like a header"), "{error}");
    }
    // Without labels to compare with.
    for file in ["subject\tbody\nhello\tyou\n", "message\nhello\n", "id\tx\n1\t2\n"] {
        let options = TableOptions::default();
        let reader = TableReader::from_reader(file.as_bytes(), "a.tsv", &options, false).unwrap();
        assert!(matches!(all(reader, 9).unwrap_err(), Error::Header { line: 1, .. }), "{file}");
    }
}

#[test]
fn only_requested_columns_need_unique_names() {
    let expected = rows(&[("a", "x"), ("b", "y")]);
    let kaggle = columns("v2", "v1");
    for (file, columns) in [
        ("v1,v2,,,\r\nx,a,,,\r\ny,b,,,\r\n", &kaggle),
        ("text,label,,\na,x,,\nb,y,,\n", &none()),
        ("id,text,id,label\n1,a,2,x\n1,b,2,y\n", &none()),
        (",text,label\n0,a,x\n1,b,y\n", &none()),
    ] {
        assert_eq!(read(file, "a.csv", columns).unwrap().0, expected, "{file:?}");
    }
    let error = read("a,v2,v2,v1\n1,2,3,4\n", "a.csv", &kaggle).unwrap_err().to_string();
    assert!(error.contains("the column \"v2\" twice"), "{error}");
}

#[test]
fn encodings_are_decoded() {
    let text = "text;label\ncafé für £5;x\n\"naïve\n–\";y\n";
    let expected = rows(&[("café für £5", "x"), ("naïve\n–", "y")]);
    for little in [true, false] {
        let (read, notes) = read(utf16(text, little), "a.csv", &none()).unwrap();
        assert_eq!(read, expected);
        assert_eq!(notes[0], "a.csv: UTF-16, CSV, separator \";\", header, 2 columns");
    }
    let unmarked = &utf16(text, true)[2..];
    let wide = options(|options| options.encoding = Some(Encoding::Utf16));
    assert_eq!(read_with(unmarked, "a.csv", &wide).unwrap().0, expected);
    let latin: Vec<u8> = text
        .chars()
        .map(|c| if c == '–' { 0x96 } else { u8::try_from(u32::from(c)).unwrap() })
        .collect();
    let error = read(&latin, "a.csv", &none()).unwrap_err();
    assert!(matches!(error, Error::NotUtf8 { line: 2, byte: 0xe9, .. }), "{error}");
    let western = options(|options| options.encoding = Some(Encoding::Latin1));
    assert_eq!(read_with(&latin, "a.csv", &western).unwrap().0, expected);
    let lossy = options(|options| options.encoding = Some(Encoding::Utf8Lossy));
    let (read, notes) = read_with(&latin, "a.csv", &lossy).unwrap();
    assert_eq!(read[0].0, "caf\u{fffd} f\u{fffd}r \u{fffd}5");
    assert_eq!(notes.last().unwrap(), "a.csv: 5 malformed UTF-8 sequences were replaced by U+FFFD");
    // Half a surrogate pair.
    let error = read_with(b"\xff\xfea\0\0\xd8b\0", "a.csv", &TableOptions::default()).unwrap_err();
    assert!(error.to_string().contains("are not UTF-16"), "{error}");
}

#[test]
fn containers_are_read_or_rejected_by_name() {
    let csv = b"text,label\na,x\nb,y\n";
    let expected = rows(&[("a", "x"), ("b", "y")]);
    let zst = zstd::encode_all(&csv[..], 1).unwrap();
    for (bytes, name) in [
        (gzip(csv), "a.csv.gz"),
        (gzip(csv), "a"),
        ([gzip(&csv[..10]), gzip(&csv[10..])].concat(), "members.gz"),
        (zst.clone(), "a.csv.zst"),
        (gzip(&utf16("text,label\na,x\nb,y\n", true)), "a.csv.gz"),
        (b"[{\"text\": \"a\", \"label\": \"x\"},\n {\"label\": \"y\", \"text\": \"b\"}]".to_vec(), "a.json"),
        (b"\xef\xbb\xbf [\n{\"text\":\"a\",\n\"label\":\"x\"},{\"text\":\"b\",\"label\":\"y\"}\n]\n".to_vec(), "a.csv"),
        (b"{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\",\"label\":\"y\"}\n".to_vec(), "a.json"),
        (gzip(b"{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\",\"label\":\"y\"}\n"), "a.txt"),
    ] {
        assert_eq!(read(&bytes, name, &none()).unwrap().0, expected, "{name}");
    }
    for (bytes, expected) in [
        (
            b"PK\x03\x04\x14\0 ... [Content_Types].xml ...".to_vec(),
            "spreadsheet (xlsx); save it as CSV",
        ),
        (b"PK\x03\x04\x14\0 ... plain.csv".to_vec(), "zip archive; unpack it"),
        (b"ARROW1\0\0\xff\xff".to_vec(), "Arrow IPC file (Feather); save it as Parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1".to_vec(), "spreadsheet (xls)"),
        (b"BZh91AY&SY".to_vec(), "bzip2"),
        (b"\xfd7zXZ\0".to_vec(), "xz"),
        (gzip(&gzip(csv)), "compressed twice"),
        (gzip(b"PK\x03\x04\x14\0 plain.csv"), "zip archive"),
        (tar(b"ustar\x0000"), "tar archive; unpack it"),
        (gzip(&tar(b"ustar  \0")), "tar archive; unpack it"),
        (zstd::encode_all(&tar(b"ustar\x0000")[..], 1).unwrap(), "tar archive; unpack it"),
        (b"<!doctype HTML>\n<html><body>404".to_vec(), "HTML document, not a table"),
        (b"\xef\xbb\xbf\r\n <HTML lang=\"en\">text,label".to_vec(), "HTML document, not a table"),
        (b"\xff\xfe\0\0t\0\0\0e\0\0\0".to_vec(), "UTF-32; save it as UTF-8"),
        (b"\0\0\xfe\xff\0\0\0t".to_vec(), "UTF-32; save it as UTF-8"),
    ] {
        let error = read(&bytes, "a.csv", &none()).unwrap_err().to_string();
        assert!(error.starts_with("a.csv: it is ") && error.contains(expected), "{error}");
    }
    // Texts that only resemble them.
    for text in ["<htmlx> tags", "about <html>", "<!DOCTYPE htmls>"] {
        let file = format!("text,label\n{text},x\n");
        assert_eq!(read(&file, "a.csv", &none()).unwrap().0, rows(&[(text, "x")]));
        let headerless = format!("{text}\ta\n");
        assert_eq!(read(&headerless, "a", &none()).unwrap().0, rows(&[("a", text)]));
    }
    let at_257 = format!("text,label\n{}ustar,x\n", "a".repeat(246));
    assert_eq!(&at_257[257..262], "ustar");
    assert_eq!(read(&at_257, "a.csv", &none()).unwrap().0.len(), 1);
    for (more, expected) in [
        (&b"<html>not found</html>"[..], "other bytes follow the compressed data"),
        (&[0; 512], "other bytes follow the compressed data"),
        (b"\n\n", "is incomplete, or a few other bytes follow it"),
    ] {
        let trailing = read([&gzip(csv)[..], more].concat(), "a.csv.gz", &none());
        let error = trailing.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("gunzip"), "{error}");
    }
    for damaged in [&gzip(csv)[..20], &zst[..zst.len() - 4]] {
        let error = read(damaged, "a.csv", &none()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read a.csv: "), "{error}");
    }
}

#[test]
fn damaged_json_arrays_are_named_with_their_line() {
    for (json, expected) in [
        ("[{\"text\":\"a\"},\n{\"text\":\"b\"", "line 2: the object is not complete"),
        (
            "[{\"text\":\"a\"}\n{\"text\":\"b\"}]",
            "line 2: the JSON array is malformed: expected \",\" or \"]\", got '{'",
        ),
        ("[{\"text\":\"a\"},\n", "expected an object, got the end of the file"),
        ("[{\"text\":\"a\"}", "expected \",\" or \"]\", got the end of the file"),
        ("[{\"text\":\"a\"},]", "expected an object, got ']'"),
        ("[{\"text\":\"a\"}]\n[]", "line 2: the JSON array is malformed: expected nothing after"),
        ("[{\"text\":\"a\"}, 5]", "expected an object, got '5'"),
        ("[\n{\"text\":\"a\",}]", "line 2: not a JSON object"),
        ("[{\"text\":\"a\nb\"}]", "line 1: not a JSON object"),
        ("[{\"label\":\"a\"}]", "line 1: there is no column \"text\""),
    ] {
        let error = read(json, "a.json", &none()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    }
    let whole = "[{\"text\": \"]}\\\"[{\", \"label\": 1, \"more\": {\"a\": [[], {}]}}]";
    assert_eq!(read(whole, "a.json", &none()).unwrap().0, rows(&[("]}\"[{", "1")]));
    assert!(read("[]", "a.json", &none()).unwrap().0.is_empty());
}

#[test]
fn whole_floats_are_labels_in_every_format() {
    let expected = rows(&[("a", "0.0"), ("b", "1.0")]);
    for (file, name) in [
        ("text,label\na,0.0\nb,1.0\n", "a.csv"),
        ("{\"text\":\"a\",\"label\":0.0}\n{\"text\":\"b\",\"label\":1.0}\n", "a.jsonl"),
        ("[{\"text\":\"a\",\"label\":0.0},{\"text\":\"b\",\"label\":1.0}]", "a.json"),
    ] {
        assert_eq!(read(file, name, &none()).unwrap().0, expected, "{name}");
    }
}

/// Texts that polars alone would change: it begins as compressed data does, or with a byte
/// order mark, ends with `\r`, or has a quotation mark in the middle.
#[test]
fn texts_that_polars_would_change_round_trip() {
    let texts = ["x^2 + y", "\u{feff}a", "x\u{1}ab", "5\" disk", "a\r", "\"", "0", "-", "'"];
    for text in texts {
        for (file, name) in [
            (format!("label\ttext\ny\t{text}\nz\tb\n"), "a.tsv"),
            (format!("y\t{text}\nz\tb\n"), "SMS"),
            (format!("text\tlabel\n{text}\ty\nb\tz\n"), "a.tsv"),
        ] {
            for no_header in [false, name == "SMS"] {
                let quote_char = Some("none".parse().unwrap());
                let options = TableOptions { quote_char, no_header, ..TableOptions::default() };
                // Two carriage returns before the line feed are one line end.
                if text.ends_with('\r') && file.contains("\r\n") {
                    continue;
                }
                let read = read_with(file.as_bytes(), name, &options).unwrap().0;
                assert_eq!(read, rows(&[(text, "y"), ("b", "z")]), "{file:?}");
            }
        }
        let quoted = format!("text,label\n\"{}\",y\nb,z\n", text.replace('"', "\"\""));
        assert_eq!(read(quoted, "a.csv", &none()).unwrap().0, rows(&[(text, "y"), ("b", "z")]));
    }
}

#[test]
fn empty_lines_of_a_table_of_one_column_are_counted() {
    for content in ["text\nalpha\n\nbeta\n", "text\r\nalpha\r\n\r\nbeta\r\n"] {
        let options = TableOptions::default();
        let mut reader =
            TableReader::from_reader(content.as_bytes(), "a.csv", &options, false).unwrap();
        assert_eq!(reader.next_chunk(9).unwrap().unwrap().texts(), ["alpha", "beta"]);
        assert!(reader.next_chunk(9).unwrap().is_none());
        let notes = reader.take_notes();
        let expected = "a.csv: 1 empty lines were skipped".to_owned();
        assert!(notes.contains(&expected), "{notes:?}");
    }
}

#[test]
fn every_line_of_a_list_of_texts_is_a_row() {
    for (content, expected) in [
        ("alpha\n\nbeta\n", &["alpha", "", "beta"][..]),
        ("alpha\r\n\r\nbeta", &["alpha", "", "beta"]),
        ("\n\nalpha\n\n", &["", "", "alpha", ""]),
        ("\"alpha\n\n\n5\"\n", &["\"alpha", "", "", "5\""]),
    ] {
        for most in [1, 2, 9] {
            let options = TableOptions::default();
            let reader = TableReader::from_reader(content.as_bytes(), "a.txt", &options, false);
            let read = all(reader.unwrap(), most).unwrap();
            let texts: Vec<&str> = read.iter().map(|(text, _)| text.as_str()).collect();
            assert_eq!(texts, expected, "{content:?}");
            let mut lines = dataset::Lines::new(content.as_bytes(), "standard input".into());
            let (mut line, mut streamed) = (String::new(), Vec::new());
            while lines.next_text(&mut line).unwrap() {
                streamed.push(line.clone());
            }
            assert_eq!(streamed, expected, "a stream has the same texts");
        }
    }
}

/// Reads with the options, or returns the line and the message of the error.
fn quotes_of(file: &str, name: &str) -> Result<(Rows, String), String> {
    match read(file, name, &none()) {
        Ok((rows, notes)) => Ok((rows, notes.join("\n"))),
        Err(error @ Error::Quotes { .. }) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

/// A header and rows of a quoted TSV file, then `rest`.
fn quoted_tsv(rest: &str) -> String {
    format!("text\tlabel\n\"say \"\"hi\"\"\"\tx\n{rest}\"two\nlines\"\ty\nplain\ty\n")
}

#[test]
fn one_malformed_quote_does_not_switch_quoting_off() {
    for (file, expected) in [
        // The malformed cell is before the others, after them, or the only quoted one.
        (
            "text\tlabel\n\"say \"hi\" there\"\tx\n\"b\"\ty\nc\ty\n".to_owned(),
            "line 2: text follows",
        ),
        ("text\tlabel\n\"b\"\tx\n\"say \"hi\"\ty\nc\ty\n".to_owned(), "line 3: text follows"),
        ("text\tlabel\na\tx\n\"b\" \"c\"\ty\n".to_owned(), "line 3: text follows"),
        ("text\tlabel\n\"a\"\tx\n\"open\ty\nc\ty\n".to_owned(), "line 3: the record that begins"),
        ("\"text\"\t\"label\"\n\"open\tx\nb\ty\n".to_owned(), "line 2: the record that begins"),
        // Among cells of several lines.
        (quoted_tsv("\"say \"hi\" there\"\tx\n"), "line 3: text follows"),
        (quoted_tsv("\"a\"b\tx\n"), "line 3: text follows"),
        // Well-formed quoting, but every line is also a valid record.
        ("text\tlabel\n\"a\tx\nb\"\ty\n".to_owned(), "line 2: a cell of this line looks quoted"),
        (
            "text\tlabel\n\"a\"\tx\n\"b\ty\nc\"\ty\n".to_owned(),
            "line 2: a cell of this line looks quoted",
        ),
        // One column is a table with and without quoting.
        ("text\n\"two\nlines\"\n\"open\n".to_owned(), "line 4: the record that begins"),
    ] {
        let label = file.contains("label");
        let options = TableOptions::default();
        let reader = TableReader::from_reader(Cursor::new(file.clone()), "a.tsv", &options, label);
        let error = reader.and_then(|reader| all(reader, 9)).unwrap_err();
        assert!(matches!(error, Error::Quotes { .. }), "{file:?}: {error}");
        assert!(error.to_string().contains(expected), "{file:?}: {error}");
    }
}

#[test]
fn quotes_behind_the_beginning_of_a_tsv_are_not_guessed() {
    let plain = "a plain text of some length\tx\n".repeat(5000);
    // Read as text at first.
    let late = format!("text\tlabel\n\"open\tx\n{plain}\"both\"\ty\nc\ty\n");
    let error = quotes_of(&late, "a.tsv").unwrap_err();
    assert!(error.contains("line 5003: a cell of this line looks quoted"), "{error}");
    // Quoted at first.
    let late = format!("text\tlabel\n\"both\"\tx\n{plain}\"open\ty\nc\ty\n");
    let error = quotes_of(&late, "a.tsv").unwrap_err();
    assert!(error.contains("line 5003: the record that begins here"), "{error}");
    let late = format!("text\tlabel\n\"open\tx\n{plain}5\" disk\ty\n");
    let (rows, notes) = quotes_of(&late, "a.tsv").unwrap();
    assert_eq!((rows.len(), &*rows[0].0, &*rows[5001].0), (5002, "\"open", "5\" disk"));
    assert_eq!(notes, "a.tsv: TSV, quotation marks are text, header, 2 columns");
    // A given quote character wins.
    for (quote_char, first) in [("none", "\"both\""), ("\"", "both")] {
        let quote_char = Some(quote_char.parse().unwrap());
        let options = TableOptions { quote_char, ..TableOptions::default() };
        let file = format!("text\tlabel\n\"both\"\tx\n{plain}");
        assert_eq!(read_with(file.as_bytes(), "a.tsv", &options).unwrap().0[0].0, first);
    }
}

#[test]
fn quoting_of_a_tsv_is_reported() {
    let file = quoted_tsv("");
    let (read, notes) = quotes_of(&file, "a.tsv").unwrap();
    assert_eq!(read, rows(&[("say \"hi\"", "x"), ("two\nlines", "y"), ("plain", "y")]));
    assert!(notes.starts_with("a.tsv: TSV, quoted cells, header, 2 columns"), "{notes}");
    let (_, notes) = quotes_of("text\tlabel\n5\" disk\tx\n", "a.tsv").unwrap();
    assert_eq!(notes, "a.tsv: TSV, header, 2 columns");
}

#[test]
fn carriage_return_line_ends_are_rejected() {
    for (file, name) in [
        ("text,label\ra,x\rb,y\r", "a.csv"),
        ("text\tlabel\ra\tx\r", "a.tsv"),
        ("x\ta\ry\tb", "SMS"),
        ("{\"text\":\"a\",\"label\":\"x\"}\r{\"text\":\"b\",\"label\":\"y\"}\r", "a.jsonl"),
    ] {
        let error = read(file, name, &none()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name}: its lines end with CR alone")), "{error}");
    }
    let array = "[{\"text\":\"a\",\"label\":\"x\"},\r{\"text\":\"b\",\"label\":\"y\"}]\r";
    assert_eq!(read(array, "a.json", &none()).unwrap().0, rows(&[("a", "x"), ("b", "y")]));
    assert_eq!(read("text,label\na\rb,x\n", "a.csv", &none()).unwrap().0, rows(&[("a\rb", "x")]));
}

#[test]
fn excel_sep_line_names_the_separator() {
    let expected = rows(&[("a, b", "x"), ("c", "y")]);
    for (first, name) in [
        ("sep=;\n", "a.csv"),
        ("sep=;\r\n", "a.csv"),
        ("\u{feff}SEP=;\n", "a.txt"),
        ("\"sep=;\"\n", "a"),
    ] {
        let file = format!("{first}text;label\na, b;x\nc;y\n");
        let (read, notes) = read(&file, name, &none()).unwrap();
        assert_eq!(read, expected, "{file:?}");
        let note = "CSV, separator \";\" named in the first line, header, 2 columns";
        assert_eq!(notes, [format!("{name}: {note}")]);
    }
    let error = read("sep=;\ntext;label\na;x;y\n", "a.csv", &none()).unwrap_err().to_string();
    assert!(error.contains("line 3: it has 3 cells"), "{error}");
    // A column of this name.
    let file = "text,sep=,label\na,b,x\n";
    assert_eq!(read(file, "a.csv", &none()).unwrap().0, rows(&[("a", "x")]));
}

#[test]
fn utf16_without_a_byte_order_mark_is_decoded() {
    let expected = rows(&[("für £5", "x"), ("日本", "y")]);
    for (text, name) in [
        ("text;label\nfür £5;x\n日本;y\n", "a.csv"),
        ("x\tfür £5\ny\t日本\n", "SMS"),
        ("{\"text\":\"für £5\",\"label\":\"x\"}\n{\"text\":\"日本\",\"label\":\"y\"}\n", "a.jsonl"),
    ] {
        for (little, encoding) in [
            (true, None),
            (false, None),
            (true, Some(Encoding::Utf16)),
            (false, Some(Encoding::Utf16)),
        ] {
            let options = TableOptions { encoding, ..TableOptions::default() };
            let (read, notes) = read_with(&utf16(text, little)[2..], name, &options).unwrap();
            assert_eq!(read, expected);
            let note = format!("{name}: UTF-16 without a byte order mark, ");
            assert!(notes[0].starts_with(&note), "{notes:?}");
        }
    }
}

#[test]
fn lines_of_a_stream_are_decoded() {
    let lines = |bytes: &[u8], encoding: Option<Encoding>| -> Result<(Vec<String>, Vec<String>)> {
        let stream = Cursor::new(bytes.to_vec());
        let mut lines = dataset::Lines::decoded(stream, "standard input".into(), encoding)?;
        let (mut line, mut all) = (String::new(), Vec::new());
        while lines.next_text(&mut line)? {
            all.push(line.clone());
        }
        Ok((all, lines.notes()))
    };
    let text = "für £5\n\n\"b";
    let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let none: &[&str] = &[];
    for (bytes, encoding, notes) in [
        (text.as_bytes().to_vec(), None, none),
        (latin.clone(), Some(Encoding::Latin1), &["standard input: latin-1"]),
        (utf16(text, false), None, &["standard input: UTF-16"]),
        (gzip(text.as_bytes()), Some(Encoding::Utf8), &["standard input: gzip"]),
    ] {
        let (read, found) = lines(&bytes, encoding).unwrap();
        assert_eq!(read, ["für £5", "", "\"b"]);
        assert_eq!(found, notes);
    }
    let (read, notes) = lines(&latin, Some(Encoding::Utf8Lossy)).unwrap();
    assert_eq!(read[0], "f\u{fffd}r \u{fffd}5");
    assert!(notes[1].contains("2 malformed UTF-8 sequences"), "{notes:?}");
    assert!(matches!(lines(&latin, None).unwrap_err(), Error::NotUtf8 { line: 1, .. }));
    for (bytes, expected) in [
        (&b"PK\x03\x04\x14\0 plain.csv"[..], "zip archive"),
        (b"PAR1\x15\x04", "Parquet file, not lines of text"),
        (b"a\rb\rc", "lines end with CR alone"),
    ] {
        let error = lines(bytes, None).unwrap_err().to_string();
        assert!(error.starts_with("standard input: ") && error.contains(expected), "{error}");
    }
}

/// A cell as writers quote it if it has a quotation mark or a separator.
fn quoted(cell: &str) -> String {
    let needs_it = cell.contains(['"', '\t', '\n']);
    if needs_it { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

proptest! {
    /// A TSV file of which one quotation mark was lost or added.
    #[test]
    fn malformed_quotes_are_rejected_or_reported(
        cells in prop::collection::vec(("[ab\"\t\n ]{1,6}", "[xy]"), 1..8),
        at: prop::sample::Index,
        adds: bool,
    ) {
        let intact: String =
            cells.iter().map(|(text, label)| format!("{}\t{label}\n", quoted(text))).collect();
        let intact = format!("text\tlabel\n{intact}");
        let mut bytes = intact.clone().into_bytes();
        let quotes: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] == b'"').collect();
        if adds || quotes.is_empty() {
            bytes.insert("text\tlabel\n".len() + at.index(bytes.len() - 10), b'"');
        } else {
            bytes.remove(quotes[at.index(quotes.len())]);
        }
        let raw = String::from_utf8(bytes.clone()).unwrap();
        if let Ok((read, notes)) = read(&bytes, "a.tsv", &none()) {
            let are_text = notes[0].contains("quotation marks are text");
            for (text, _) in &read {
                let looks_quoted = text.len() > 1 && text.starts_with('"') && text.ends_with('"');
                prop_assert!(!are_text || (!looks_quoted && raw.contains(text.as_str())));
            }
            // The detected quoting equals the quoting of the option.
            let quote_char = Some(if are_text { "none" } else { "\"" }.parse().unwrap());
            let options = TableOptions { quote_char, ..TableOptions::default() };
            prop_assert_eq!(read_with(&bytes, "a.tsv", &options).unwrap().0, read);
        }
        // Undamaged texts are read unchanged, unless every line of the quoted cells could be a
        // row.
        match self::read(&intact, "a.tsv", &none()) {
            Ok((texts, _)) => {
                let expected: Vec<&String> = cells.iter().map(|(text, _)| text).collect();
                prop_assert_eq!(texts.iter().map(|(text, _)| text).collect::<Vec<_>>(), expected);
            }
            Err(error) => prop_assert!(intact.contains('\n') && error.to_string().contains("looks quoted")),
        }
    }
}
