//! Reading tables: formats, headers, columns, labels.

use std::{fs, io::Read, path::PathBuf};

use dataset::{
    Chunk, ColumnError, ColumnRole, Columns, Error, Example, Format, LabeledFiles, LabeledText,
    Result, TableOptionError, TableOptions, TableReader,
};
use tempfile::TempDir;

/// Names of the columns of texts and labels.
pub(crate) fn columns(text: &str, label: &str) -> Columns {
    Columns { text: Some(text.into()), label: Some(label.into()) }
}

pub(crate) fn none() -> Columns {
    Columns::default()
}

/// A reader of these bytes.
pub(crate) fn reader(
    bytes: impl AsRef<[u8]> + Send + 'static,
    format: Format,
    columns: &Columns,
    wants_label: bool,
) -> Result<TableReader> {
    let source = std::io::Cursor::new(bytes);
    let options = TableOptions::with_columns(columns).format(format);
    TableReader::from_reader(source, "standard input", &options, wants_label)
}

/// A reader of a file, whose format is detected.
pub(crate) fn open(
    path: impl Into<PathBuf>,
    columns: &Columns,
    wants_label: bool,
) -> Result<TableReader> {
    TableReader::open(path, &TableOptions::with_columns(columns), wants_label)
}

/// Texts and labels of a whole table, read `most` rows at a time.
pub(crate) type Rows = Vec<(String, Option<String>)>;

pub(crate) fn all(mut reader: TableReader, most: usize) -> Result<Rows> {
    let mut rows = Rows::new();
    while let Some(chunk) = reader.next_chunk(most)? {
        assert!((1..=most).contains(&chunk.len()));
        assert_eq!(chunk.rows(), rows.len()..rows.len() + chunk.len());
        let labels = chunk.labels().iter().cloned();
        rows.extend(chunk.texts().iter().cloned().zip(labels));
    }
    Ok(rows)
}

fn read(bytes: &str, format: Format, columns: &Columns, wants_label: bool) -> Result<Rows> {
    all(reader(bytes.to_owned(), format, columns, wants_label)?, 2)
}

fn row(text: &str, label: &str) -> (String, Option<String>) {
    (text.to_owned(), Some(label.to_owned()))
}

fn bare(text: &str) -> (String, Option<String>) {
    (text.to_owned(), None)
}

fn first_chunk(bytes: &'static str, format: Format) -> Chunk {
    reader(bytes, format, &none(), false).unwrap().next_chunk(10).unwrap().unwrap()
}

/// A folder with a file.
struct File {
    _dir: TempDir,
    path: PathBuf,
}

fn file(name: &str, bytes: &str) -> File {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    File { _dir: dir, path }
}

fn example(label: usize, text: &str, row: usize) -> Example {
    Example { label, text: text.into(), row }
}

fn read_labeled(path: impl Into<PathBuf>) -> Result<LabeledText> {
    LabeledFiles::new(path).read()
}

#[test]
fn formats_are_parsed_from_extensions_and_names() {
    let of = |name: &str| Format::of(name);
    assert_eq!(of("a.csv"), Format::Csv);
    assert_eq!([of("a.jsonl"), of("b.c.NDJSON")], [Format::Jsonl; 2]);
    assert_eq!(of("dir.csv/a.parquet"), Format::Parquet);
    assert_eq!([of("a.tsv"), of("a.txt"), of("SMSSpamCollection")], [Format::Tsv; 3]);
    for format in Format::ALL {
        assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
        assert_eq!(serde_json::to_value(format).unwrap(), format.name());
    }
    let unknown = TableOptionError::Format { name: "xlsx".to_owned() };
    assert_eq!("xlsx".parse::<Format>(), Err(unknown));
}

#[test]
fn a_csv_has_a_header_and_quotes() {
    let csv =
        "\u{feff}ID,Text,\"LABEL\"\r\n1,\"a, \"\"b\"\"\nc\",x\r\n\r\n2,plain,y\r\n3,,\r\n4,  ,z";
    let expected = [row("a, \"b\"\nc", "x"), row("plain", "y"), bare(""), row("  ", "z")].to_vec();
    assert_eq!(read(csv, Format::Csv, &none(), true).unwrap(), expected);
    let chunk = first_chunk("ID,Text,LABEL\n1,a,b\n", Format::Csv);
    assert_eq!(chunk.columns(), ["ID", "Text", "LABEL"]);
    assert!(!chunk.is_empty());

    let body = "y,body\n1,one\n0,two";
    assert_eq!(
        read(body, Format::Csv, &columns("body", "y"), true).unwrap(),
        [row("one", "1"), row("two", "0")]
    );
    let error = read(body, Format::Csv, &none(), true).unwrap_err();
    let Error::Columns { line: Some(1), problem: ColumnError::Missing { role, .. }, .. } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(*role, ColumnRole::Text);
    let error = error.to_string();
    assert!(error.contains("the columns are \"y\", \"body\""), "{error}");
    assert!(error.starts_with("standard input, line 1"), "{error}");
}

#[test]
fn a_tsv_has_a_header_if_it_looks_like_one() {
    let with = "label\tid\ttext\nham\t1\t\"a\n\nspam\t2\tb\".\r\n";
    let expected = [row("\"a", "ham"), row("b\".", "spam")];
    assert_eq!(read(with, Format::Tsv, &none(), true).unwrap(), expected);
    let without = "ham\t\"a\r\n\nspam\tb\".";
    assert_eq!(read(without, Format::Tsv, &none(), true).unwrap(), expected);
    let asked = "kind\tbody\nham\t\"a\nspam\tb\".\n";
    assert_eq!(read(asked, Format::Tsv, &columns("body", "kind"), true).unwrap(), expected);
    // Named columns make the first line a header, whatever it contains.
    let error = read(without, Format::Tsv, &columns("body", "kind"), true).unwrap_err();
    assert!(error.to_string().contains("no column \"body\"; the columns are \"ham\""), "{error}");
    assert_eq!(first_chunk("ham\ta", Format::Tsv).columns(), ["label", "text"]);
}

#[test]
fn unlabeled_text_needs_no_label() {
    let expected = [bare("one"), bare("two")];
    for tsv in ["text\none\n\ntwo\n", "one\ntwo", "id\tTEXT\n1\tone\n2\ttwo"] {
        assert_eq!(read(tsv, Format::Tsv, &none(), false).unwrap(), expected, "{tsv:?}");
    }
    assert_eq!(read("text\none\ntwo", Format::Csv, &none(), false).unwrap(), expected);
    // An existing label is read.
    let labeled = [row("one", "a"), row("two", "b")];
    assert_eq!(read("a\tone\nb\ttwo\n", Format::Tsv, &none(), false).unwrap(), labeled);
    let csv = "label,text\na,one\nb,two\n";
    assert_eq!(read(csv, Format::Csv, &none(), false).unwrap(), labeled);
    assert!(read("text\none\n", Format::Csv, &none(), true).is_err());
    let error = read("one\ntwo\ta\n", Format::Tsv, &none(), false).unwrap_err().to_string();
    assert!(error.contains("line 2: there is a tab, but none in the first line"), "{error}");
    assert!(read("", Format::Tsv, &none(), false).unwrap().is_empty());
}

#[test]
fn json_lines_have_labels_of_three_kinds() {
    let jsonl = r#"{"text": "a", "label": "x"}

        {"label": -3, "text": "b\n\u00e9\ud83d\ude00", "more": {"deep": [1, 2.50]}}
{"Text": "c", "LABEL": true}
{"text": null, "label": null}
{"text": "", "label": ""}
{"text": "d"}"#;
    assert_eq!(
        read(jsonl, Format::Jsonl, &none(), true).unwrap(),
        [row("a", "x"), row("b\né😀", "-3"), row("c", "true"), bare(""), bare(""), bare("d"),]
    );
    let asked = "{\"body\": \"a\", \"text\": 5, \"y\": false}\n";
    assert_eq!(
        read(asked, Format::Jsonl, &columns("body", "y"), true).unwrap(),
        [row("a", "false")]
    );
}

#[test]
fn chunks_end_when_they_are_large() {
    let line = format!("{}\n", "x".repeat(3 << 20));
    let mut reader = reader(line.repeat(7), Format::Tsv, &none(), false).unwrap();
    let mut sizes = Vec::new();
    while let Some(chunk) = reader.next_chunk(100).unwrap() {
        sizes.push(chunk.len());
    }
    assert_eq!(sizes, [3, 3, 1], "8 MiB are reached with the third row");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = reader("PAR1", Format::Parquet, &none(), true).err().unwrap().to_string();
    assert!(error.contains("standard input: it cannot be read as Parquet"), "{error}");
    let error = open("absent.csv", &none(), true).err().unwrap();
    assert!(matches!(error, Error::Storage(_)) && error.to_string().contains("absent.csv"));
}

#[test]
fn rows_without_text_or_label_are_left_out_and_counted() {
    let csv = "text,label\n a ,x\n,x\n \t,\nb,\nc,y\nd,x\ne,z\n";
    let csv = file("a.csv", csv);
    let data = read_labeled(&csv.path).unwrap();
    assert_eq!(data.labels(), ["x", "y", "z"]);
    assert_eq!(
        data.examples(),
        [example(0, " a ", 0), example(1, "c", 4), example(0, "d", 5), example(2, "e", 6)]
    );
    let counts = data.counts();
    assert_eq!([counts.read, counts.empty_text, counts.without_label], [7, 2, 1]);
    assert_eq!(counts.used(), 4);
    assert_eq!(counts.singletons, ["y", "z"]);
    assert_eq!(
        serde_json::to_value(counts).unwrap(),
        serde_json::json!(
            {
                "read": 7, "empty_text": 2, "without_label": 1, "examples": [2, 1, 1],
                "singletons": ["y", "z"], "alike": [], "conflicting_texts": 0
            }
        )
    );
}

#[test]
fn a_tsv_without_header_is_read_by_the_same_rules() {
    let tsv = file("SMS", "ham\ta\n\nham\t\nspam\t  \nspam \t b\n \tc\n");
    let data = read_labeled(&tsv.path).unwrap();
    assert_eq!(data.examples(), [example(0, "a", 0), example(1, " b", 4)]);
    let counts = data.counts();
    assert_eq!([counts.read, counts.empty_text, counts.without_label], [5, 2, 1]);
    let bad = file("bad", "ham\ta\nno tab\n");
    let error = read_labeled(&bad.path).unwrap_err().to_string();
    assert!(error.ends_with("bad, line 2: there is no tab between a label and a text"), "{error}");
    for name in ["absent", "absent.csv"] {
        let error = read_labeled(name).unwrap_err();
        assert!(matches!(error, Error::Storage(_)));
    }
}

#[test]
fn table_without_examples_is_rejected() {
    let check = |name: &str, bytes: &str, expected: &str| {
        let file = file(name, bytes);
        let error = read_labeled(&file.path).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(name), "{error}");
    };
    check("a.csv", "text,label\na,x\nb,x\n", "every example has the label \"x\"");
    check("a.csv", "text,label\n,x\nb,\n", "of 2 rows 1 have no text and 1 no label");
    check("a.jsonl", "{\"text\":\"a\",\"class\":1}", "the columns are \"text\", \"class\"");
    check("a.csv", "", "the file is empty; the first line must name the columns");
    check("a.tsv", "", "the file has no examples");
}

/// Source that fails in the middle.
struct Broken(bool);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(std::io::Error::other("the cable is cut"));
        }
        buffer[..7].copy_from_slice(b"text\na\n");
        Ok(7)
    }
}

#[test]
fn failing_source_is_named() {
    let options = TableOptions::default().format(Format::Csv);
    let reader = TableReader::from_reader(Broken(false), "the network", &options, false);
    let error = reader.and_then(|reader| all(reader, 5)).unwrap_err().to_string();
    assert_eq!(error, "cannot read the network: the cable is cut");
}
