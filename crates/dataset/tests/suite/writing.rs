//! Writing of tables in every format.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use dataset::{Added, Columns, Error, Format, Result, TableWriter, TableWriterError};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::tables::{self, Rows, all, none, reader};

/// Stream whose content is inspected.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type AddedColumns = Vec<(String, Added)>;

/// Converts a table to a text format, with columns added to each chunk.
fn convert(
    bytes: &str,
    from: Format,
    to: Format,
    added: impl Fn(usize) -> AddedColumns,
) -> Result<String> {
    let mut reader = reader(bytes.to_owned(), from, &none(), false)?;
    let shared = Shared::default();
    let mut writer = TableWriter::to_writer(shared.clone(), to, "standard output")?;
    while let Some(chunk) = reader.next_chunk(2)? {
        writer.write(&chunk, &added(chunk.len()))?;
    }
    writer.finish()?;
    let bytes = shared.0.lock().unwrap().clone();
    Ok(String::from_utf8(bytes).unwrap())
}

fn plain(bytes: &str, from: Format, to: Format) -> Result<String> {
    convert(bytes, from, to, |_| Vec::new())
}

/// Copies a table from one file to another.
fn copy(from: &Path, to: &Path, added: &[(String, Added)]) -> Result<()> {
    let mut reader = tables::open(from, &none(), false)?;
    let mut writer = TableWriter::create(to, None)?;
    let mut rows = 0;
    while let Some(chunk) = reader.next_chunk(1000)? {
        writer.write(&chunk, added)?;
        rows += chunk.len();
    }
    if rows == 0 {
        writer.write(&reader.no_rows()?, added)?;
    }
    writer.finish().map(drop)
}

fn open(path: &Path) -> Result<Rows> {
    all(tables::open(path, &none(), false)?, 7)
}

#[test]
fn columns_are_kept_and_added() {
    let added = |rows: usize| -> AddedColumns {
        vec![
            ("label".into(), Added::Strings(vec![Some("a, b".into()); rows])),
            ("p".into(), Added::Floats(vec![Some(0.1); rows])),
            ("label".into(), Added::Strings(vec![Some(String::new()); rows])),
        ]
    };
    let csv = "id,text,label\n1,\"x \"\"y\"\"\",h\n2,\"é\nz\",\n3,t,u\n";
    assert_eq!(
        convert(csv, Format::Csv, Format::Csv, added).unwrap(),
        "id,text,label,label_2,p,label_3\n1,\"x \"\"y\"\"\",h,\"a, b\",0.1,\n2,\"é\nz\",,\"a, \
         b\",0.1,\n3,t,u,\"a, b\",0.1,\n"
    );
    assert_eq!(
        convert("h\tx\ng\ty\n", Format::Tsv, Format::Tsv, added).unwrap(),
        "label\ttext\tlabel_2\tp\tlabel_3\nh\tx\ta, b\t0.1\t\ng\ty\ta, b\t0.1\t\n"
    );
    let jsonl = "{ \"text\" : \"\\u00e9\", \"n\" : 1.50, \"deep\" : {\"a\": [1]} }\n";
    assert_eq!(
        convert(jsonl, Format::Jsonl, Format::Jsonl, added).unwrap(),
        "{\"text\":\"\\u00e9\",\"n\":1.50,\"deep\":{\"a\": [1]},\"label\":\"a, \
         b\",\"p\":0.1,\"label_2\":\"\"}\n",
        "values stay as they are spelled"
    );
    assert_eq!(
        plain("one\ntwo\n", Format::Tsv, Format::Jsonl).unwrap(),
        "{\"text\":\"one\"}\n{\"text\":\"two\"}\n"
    );
}

#[test]
fn json_values_become_cells() {
    let jsonl = r#"{"text":"a","n":1.50,"b":true,"none":null,"o":{"k":"v, w"}}
{"text":"b","extra":"x"}
"#;
    assert_eq!(
        plain(jsonl, Format::Jsonl, Format::Csv).unwrap(),
        "text,n,b,none,o,extra\na,1.50,true,,\"{\"\"k\"\":\"\"v, w\"\"}\",\nb,,,,,x\n"
    );
    let late = format!("{jsonl}{{\"text\":\"c\",\"new\":1}}\n");
    for to in [Format::Csv, Format::Tsv] {
        let error = plain(&late, Format::Jsonl, to).unwrap_err();
        assert!(matches!(error, Error::Row { row: 3, .. }), "{error}");
        assert!(error.to_string().contains("it has the column \"new\""), "{error}");
    }
    assert_eq!(plain(&late, Format::Jsonl, Format::Jsonl).unwrap(), late);
}

#[test]
fn numbers_round_trip_exactly() {
    let numbers = [0.1, 1.0, -0.0, 1e-300, f64::MAX, 1.0 / 3.0, 5e-324, 123_456_789.123_456_78];
    let text = "x\n".repeat(numbers.len());
    for format in [Format::Csv, Format::Jsonl] {
        let mut reader = reader(text.clone(), Format::Tsv, &none(), false).unwrap();
        let shared = Shared::default();
        let mut writer = TableWriter::to_writer(shared.clone(), format, "out").unwrap();
        let chunk = reader.next_chunk(100).unwrap().unwrap();
        writer.write(&chunk, &[("p".into(), Added::Floats(numbers.map(Some).to_vec()))]).unwrap();
        writer.finish().unwrap();
        let written = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        let read: Vec<f64> = match format {
            Format::Csv => written
                .lines()
                .skip(1)
                .map(|line| line.split_once(',').unwrap().1.parse().unwrap())
                .collect(),
            _ => written
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["p"].as_f64().unwrap())
                .collect(),
        };
        let bits = |numbers: &[f64]| numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read), bits(&numbers), "{written}");
    }
    let not_finite = |_| vec![("p".to_owned(), Added::Floats(vec![Some(f64::NAN)]))];
    assert_eq!(
        convert("x\n", Format::Tsv, Format::Jsonl, not_finite).unwrap(),
        "{\"text\":\"x\",\"p\":null}\n"
    );
}

#[test]
fn missing_values_are_empty_cells_and_null() {
    let missing = |_: usize| {
        vec![
            ("label".to_owned(), Added::Strings(vec![None])),
            ("p".to_owned(), Added::Floats(vec![None])),
        ]
    };
    let csv = convert("text\nx\n", Format::Csv, Format::Csv, missing).unwrap();
    assert_eq!(csv, "text,label,p\nx,,\n");
    let jsonl = convert("text\nx\n", Format::Csv, Format::Jsonl, missing).unwrap();
    assert_eq!(jsonl, "{\"text\":\"x\",\"label\":null,\"p\":null}\n");
    let dir = tempfile::tempdir().unwrap();
    let [csv, parquet, again] =
        ["in.csv", "mid.parquet", "out.csv"].map(|name| dir.path().join(name));
    fs::write(&csv, "text\nx\n").unwrap();
    copy(&csv, &parquet, &missing(1)).unwrap();
    copy(&parquet, &again, &[]).unwrap();
    assert_eq!(fs::read_to_string(again).unwrap(), "text,label,p\nx,,\n");
}

#[test]
fn tsv_quotes_tabs_line_breaks_and_a_lone_empty_cell() {
    let tsv = |jsonl: &str| plain(jsonl, Format::Jsonl, Format::Tsv).unwrap();
    for text in ["a\tb", "a\nb", "a\"b"] {
        let written = tsv(&format!("{}\n", json!({ "text": text, "n": 1 })));
        assert_eq!(written, format!("n\ttext\n1\t\"{}\"\n", text.replace('"', "\"\"")));
    }
    assert_eq!(tsv("{\"text\":\"\"}"), "text\n\"\"\n");
}

#[test]
fn values_that_a_format_cannot_represent_are_rejected() {
    let error = TableWriter::to_writer(io::sink(), Format::Parquet, "standard output");
    let Error::TableWriter(TableWriterError::ParquetStream { name }) = error.err().unwrap() else {
        panic!("a Parquet file was written to a stream")
    };
    assert_eq!(name, Path::new("standard output"));
    let short = |_| vec![("p".to_owned(), Added::Floats(Vec::new()))];
    let error = convert("x\n", Format::Tsv, Format::Csv, short).unwrap_err();
    let expected = TableWriterError::AddedValues { column: "p".to_owned(), values: 0, rows: 1 };
    assert!(matches!(&error, Error::TableWriter(error) if *error == expected), "{error}");
    let error = TableWriter::create("/no/such/folder/out.csv", None).err().unwrap();
    assert!(error.to_string().starts_with("cannot write /no/such/folder/out.csv"), "{error}");
}

#[test]
fn file_appears_only_when_finished() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["out.csv", "out.tsv", "out.jsonl", "out.parquet"] {
        let path = dir.path().join(name);
        let mut reader = reader("x\n", Format::Tsv, &none(), false).unwrap();
        let mut writer = TableWriter::create(&path, None).unwrap();
        writer.write(&reader.next_chunk(1).unwrap().unwrap(), &[]).unwrap();
        assert!(!path.exists(), "{name}");
        writer.finish().unwrap();
        assert_eq!(open(&path).unwrap(), [("x".to_owned(), None)], "{name}");
        drop(TableWriter::create(dir.path().join("never.csv"), None).unwrap());
    }
    assert!(!dir.path().join("never.csv").exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "nothing else is left");
}

#[test]
fn a_table_without_rows_keeps_its_columns() {
    let dir = tempfile::tempdir().unwrap();
    let [csv, parquet, again] =
        ["in.csv", "mid.parquet", "out.csv"].map(|name| dir.path().join(name));
    fs::write(&csv, "id,text\n").unwrap();
    let added = [("p".to_owned(), Added::Floats(Vec::new()))];
    copy(&csv, &parquet, &added).unwrap();
    copy(&parquet, &again, &[]).unwrap();
    assert_eq!(fs::read_to_string(again).unwrap(), "id,text,p\n");
}

#[test]
fn parquet_keeps_its_types() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tables");
    let dir = tempfile::tempdir().unwrap();
    for name in ["pandas.parquet", "category.parquet", "large.parquet"] {
        let source = fixtures.join(name);
        let [copied, direct, through] =
            ["copy.parquet", "direct.jsonl", "through.jsonl"].map(|name| dir.path().join(name));
        copy(&source, &copied, &[]).unwrap();
        copy(&source, &direct, &[]).unwrap();
        copy(&copied, &through, &[]).unwrap();
        let direct = fs::read_to_string(direct).unwrap();
        assert_eq!(direct, fs::read_to_string(through).unwrap(), "{name}");
        if name == "pandas.parquet" {
            let pandas = fs::read_to_string(fixtures.join("pandas.jsonl")).unwrap();
            let values = |text: &str| -> Vec<Value> {
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
            };
            assert_eq!(values(&direct), values(&pandas), "each value is what pandas makes of it");
        }
    }
}

/// Text with characters that formats have to escape.
fn awkward() -> impl Strategy<Value = String> {
    prop_oneof![
        "[\",;'\r\n\t\\\\ ax{}:]{0,12}",
        "[^\0]{0,20}",
        Just("null".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("NaN".to_owned()),
        Just("-1.0".to_owned()),
    ]
}

/// A label that every format spells alike.
fn label() -> impl Strategy<Value = Option<String>> {
    let filled = "[^\0 \t\r\n]{1,8}".prop_filter("blank", |label| !label.trim().is_empty());
    prop::option::of(filled)
}

/// Writes rows as JSON Lines, by hand.
fn write_jsonl(path: &Path, rows: &[(String, Option<String>, String)]) {
    let line = |(text, label, other): &(String, Option<String>, String)| {
        format!("{}\n", json!({ "label": label, "other": other, "text": text }))
    };
    fs::write(path, rows.iter().map(line).collect::<String>()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn texts_round_trip_in_every_format(
        rows in prop::collection::vec((awkward(), label(), awkward()), 1..20),
        formats in prop::collection::vec(prop::sample::select(Format::ALL.to_vec()), 1..5),
    ) {
        let mut rows = rows;
        if formats.contains(&Format::Tsv) {
            for (text, _, other) in &mut rows {
                *text = text.replace(['\t', '\r', '\n'], " ");
                *other = other.replace(['\t', '\r', '\n'], " ");
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let mut last = dir.path().join("0.jsonl");
        write_jsonl(&last, &rows);
        for (number, format) in formats.iter().enumerate() {
            let next = dir.path().join(format!("{}.{format}", number + 1));
            copy(&last, &next, &[]).unwrap();
            last = next;
        }
        let expected: Rows =
            rows.iter().map(|(text, label, _)| (text.clone(), label.clone())).collect();
        prop_assert_eq!(open(&last).unwrap(), expected);
        // Other columns come back too: read as if they were the text.
        let columns = Columns { text: Some("other".into()), label: Some("text".into()) };
        let others = all(tables::open(&last, &columns, true).unwrap(), 50).unwrap();
        prop_assert!(others.iter().map(|row| &row.0).eq(rows.iter().map(|row| &row.2)));
    }
}

/// Row `n` of a large table.
fn large_row(n: usize) -> (String, &'static str) {
    let text = match n % 5 {
        0 => format!("row {n}, with \"quotes\""),
        1 => format!("row {n}\nof two lines"),
        2 => format!("naïve row {n} 🙂"),
        3 => format!("row {n}"),
        _ => format!("\ttabs\r\n{n}"),
    };
    (text, ["spam", "ham", "7"][n % 3])
}

/// 300,000 rows, converted through three formats.
#[test]
fn large_tables_are_streamed() {
    const ROWS: usize = 300_000;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let mut csv = BufWriter::new(fs::File::create(path("in.csv")).unwrap());
    csv.write_all(b"id,label,text\n").unwrap();
    for n in 0..ROWS {
        let (text, label) = large_row(n);
        writeln!(csv, "{n},{label},\"{}\"", text.replace('"', "\"\"")).unwrap();
    }
    csv.flush().unwrap();
    copy(&path("in.csv"), &path("mid.parquet"), &[]).unwrap();
    copy(&path("mid.parquet"), &path("out.jsonl"), &[]).unwrap();
    let written = fs::read_to_string(path("out.jsonl")).unwrap();
    let mut count = 0;
    for (n, line) in written.lines().enumerate() {
        let (text, label) = large_row(n);
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value, json!({ "id": n.to_string(), "label": label, "text": text }));
        count += 1;
    }
    assert_eq!(count, ROWS);
}

#[test]
fn file_name_decides_the_compression() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("in.csv"), "id,text\n1,a\n2,\"b\nc\"\n").unwrap();
    let magic: fn(&Path) -> Vec<u8> = |path| fs::read(path).unwrap()[..2].to_vec();
    for (name, expected) in [
        ("out.csv.gz", b"\x1f\x8b"),
        ("out.tsv.GZ", b"\x1f\x8b"),
        ("out.jsonl.gz", b"\x1f\x8b"),
        ("out.parquet.gz", b"\x1f\x8b"),
        ("out.csv.zst", b"\x28\xb5"),
        ("out.jsonl.zst", b"\x28\xb5"),
        ("out.csv", b"id"),
    ] {
        copy(&path("in.csv"), &path(name), &[]).unwrap();
        assert_eq!(magic(&path(name)), expected, "{name}");
        assert_eq!(open(&path(name)).unwrap(), open(&path("in.csv")).unwrap(), "{name}");
    }
    // The format may be named, the name decides the compression.
    let mut reader = tables::open(path("in.csv"), &none(), false).unwrap();
    let mut writer = TableWriter::create(path("named.gz"), Some(Format::Csv)).unwrap();
    writer.write(&reader.next_chunk(9).unwrap().unwrap(), &[]).unwrap();
    writer.finish().unwrap();
    assert_eq!(magic(&path("named.gz")), b"\x1f\x8b");
    for name in ["out.csv.bz2", "out.csv.xz", "out.parquet.zip"] {
        let error = TableWriter::create(path(name), Some(Format::Csv)).err().unwrap().to_string();
        assert!(error.contains(name) && error.contains(".gz or .zst"), "{error}");
        assert!(!path(name).exists());
    }
}

#[test]
fn added_columns_with_a_name_that_is_taken_are_reported() {
    let added: fn(&str) -> (String, Added) =
        |name| (name.to_owned(), Added::Strings(vec![None; 1]));
    for (header, added, expected) in [
        ("text", vec![added("p"), added("q")], None),
        ("text,p", vec![added("p"), added("q")], Some(("\"p\"", "\"p_2\""))),
        ("text,q,p", vec![added("p"), added("q")], Some(("\"p\", \"q\"", "\"p_2\", \"q_2\""))),
        ("text,p,p_2", vec![added("p")], Some(("\"p\"", "\"p_3\""))),
    ] {
        let csv = format!("{header}\n{}\n", header.replace("text", "a"));
        let mut reader = reader(csv, Format::Csv, &none(), false).unwrap();
        let shared = Shared::default();
        let mut writer = TableWriter::to_writer(shared, Format::Csv, "standard output").unwrap();
        writer.write(&reader.next_chunk(9).unwrap().unwrap(), &added).unwrap();
        let expected: Vec<String> = expected
            .map(|(taken, names)| {
                format!("the table has columns {taken} already; the added ones are called {names}")
            })
            .into_iter()
            .collect();
        assert_eq!(writer.finish().unwrap(), expected, "{header}");
    }
}
