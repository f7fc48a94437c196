//! Tables of every format.

use std::io::Cursor;

use dataset::{
    Columns, Encoding, Format, LabeledFiles, QuoteChar, Result, TableOptions, TableReader,
    TableWriter,
};

use crate::{Outcome, refused, temporary_folder::TemporaryFolder};

pub fn tsv(bytes: &[u8]) -> Outcome {
    of_stream(bytes, Format::Tsv)
}

/// The header-less file of the book, and every other way to a training.
pub fn messages(bytes: &[u8]) -> Outcome {
    let folder = TemporaryFolder::with(&[("messages.tsv", bytes)]);
    let path = folder.path().join("messages.tsv");
    match LabeledFiles::new(path).read() {
        Err(error) => refused(&error, &["messages.tsv"]),
        Ok(data) => {
            assert_eq!(data.examples().len(), data.counts().used());
            assert!(data.labels().iter().all(|label| !label.is_empty()));
            assert!(data.examples().iter().all(|example| !example.text.contains('\0')));
            Outcome::Accepted
        }
    }
}

pub fn csv(bytes: &[u8]) -> Outcome {
    of_stream(bytes, Format::Csv)
}

pub fn jsonl(bytes: &[u8]) -> Outcome {
    of_stream(bytes, Format::Jsonl)
}

pub fn parquet(bytes: &[u8]) -> Outcome {
    let folder = TemporaryFolder::with(&[("table.parquet", bytes)]);
    let path = folder.path().join("table.parquet");
    check(&|wants| TableReader::open(&path, &TableOptions::default(), wants), "table.parquet")
}

/// Whatever the bytes are: the format, the separator and all else is detected.
pub fn detected(bytes: &[u8]) -> Outcome {
    stream(bytes, &TableOptions::default())
}

/// The first byte chooses options.
pub fn options(bytes: &[u8]) -> Outcome {
    let Some((&choice, bytes)) = bytes.split_first() else { return Outcome::Refused };
    let numbered = Columns { text: Some("2".to_owned()), label: Some("1".to_owned()) };
    let no_header = choice & 1 != 0;
    let separators = ["tab", ";", "|", "x"];
    let encodings = [Encoding::Utf8, Encoding::Utf8Lossy, Encoding::Latin1, Encoding::Utf16];
    let options = TableOptions {
        columns: if no_header { numbered } else { Columns::default() },
        no_header,
        quote_char: (choice & 2 != 0).then_some(QuoteChar(Some(b'\''))),
        separator: (choice & 4 != 0)
            .then(|| separators[usize::from(choice >> 3) % 4].parse().unwrap()),
        encoding: Some(encodings[usize::from(choice >> 5) % 4]),
        format: (choice & 128 != 0).then_some(Format::Csv),
    };
    stream(bytes, &options)
}

fn of_stream(bytes: &[u8], format: Format) -> Outcome {
    stream(bytes, &TableOptions::default().format(format))
}

/// Checks that no cell is in quotation marks if they were detected to be text.
fn check_quotes(reader: Result<TableReader>) {
    let Ok(mut reader) = reader else { return };
    let mut texts = Vec::new();
    while let Ok(Some(chunk)) = reader.next_chunk(9) {
        texts.extend(chunk.texts().to_vec());
    }
    if reader.take_notes()[0].contains("quotation marks are text, header") {
        let is_quoted =
            |text: &String| text.len() > 1 && text.starts_with('"') && text.ends_with('"');
        assert!(!texts.iter().any(is_quoted), "{texts:?}");
    }
}

fn stream(bytes: &[u8], options: &TableOptions) -> Outcome {
    let open = |wants| {
        let source = Cursor::new(bytes.to_vec());
        TableReader::from_reader(source, "standard input", options, wants)
    };
    if options.quote_char.is_none() {
        check_quotes(open(false));
    }
    check(&open, "standard input")
}

/// Text and label of every row.
type Rows = Vec<(String, Option<String>)>;

fn rows(reader: Result<TableReader>, most: usize) -> Result<Rows> {
    let mut reader = reader?;
    let mut all = Rows::new();
    while let Some(chunk) = reader.next_chunk(most)? {
        assert!((1..=most).contains(&chunk.len()));
        assert_eq!(chunk.rows(), all.len()..all.len() + chunk.len());
        all.extend(chunk.texts().iter().cloned().zip(chunk.labels().iter().cloned()));
    }
    Ok(all)
}

/// The rows do not depend on the number of rows read at a time, and survive a round trip
/// through JSON Lines.
fn check(open: &dyn Fn(bool) -> Result<TableReader>, name: &str) -> Outcome {
    let mut outcome = Outcome::Refused;
    for wants_label in [false, true] {
        match (rows(open(wants_label), 1), rows(open(wants_label), 1000)) {
            (Ok(singly), Ok(together)) => {
                assert_eq!(singly, together);
                // What JSON cannot hold is refused.
                if let Ok(Some(again)) = written(open(wants_label), wants_label) {
                    assert_eq!(again, singly);
                }
                outcome = Outcome::Accepted;
            }
            (Err(singly), Err(together)) => {
                assert_eq!(singly.to_string(), together.to_string());
                refused(&singly, &[name]);
            }
            (singly, together) => panic!("one by one {singly:?}, together {together:?}"),
        }
    }
    outcome
}

/// The rows of a table after it was written as JSON Lines; nothing if its columns have
/// other names, by which nobody asked for them.
fn written(reader: Result<TableReader>, wants_label: bool) -> Result<Option<Rows>> {
    let mut reader = reader?;
    let folder = TemporaryFolder::with(&[]);
    let path = folder.path().join("again.jsonl");
    let mut writer = TableWriter::create(&path, None)?;
    while let Some(chunk) = reader.next_chunk(7)? {
        let columns = chunk.columns();
        let named = |name: &str| columns.iter().any(|column| column == name);
        if !named("text") || (wants_label && !named("label")) {
            return Ok(None);
        }
        writer.write(&chunk, &[])?;
    }
    writer.finish()?;
    let again = TableReader::open(&path, &TableOptions::default(), wants_label);
    rows(again, 7).map(Some)
}
