//! Tables as they are found: dialects, encodings, containers, pipes and links.

use std::{
    fs,
    path::{Path, PathBuf},
};

use test_support::{Finished, fixture, read_json, run, run_with_input, workspace};

/// A row of a table, and its class among two.
fn row(number: usize) -> (String, &'static str) {
    match number % 2 {
        0 => (format!("see you at the bus, I will bring dinner {number}"), "ham"),
        _ => (format!("claim your prize; reply JACKPOT number {number}"), "spam"),
    }
}

/// A table of 40 rows, each made of a text and a label.
fn table(header: &str, line: impl Fn(&str, &str) -> String) -> String {
    let rows = (0..40).map(|number| {
        let (text, label) = row(number);
        line(&text, label)
    });
    std::iter::once(header.to_owned()).chain(rows).collect()
}

fn csv() -> String {
    table("text,label\n", |text, label| format!("\"{text}\",{label}\n"))
}

fn train(data: &str, options: &[&str], input: impl AsRef<[u8]>) -> Finished {
    let model = fixture("tiny").display().to_string();
    let mut arguments = vec!["train", "--model", &model, "--out", "out", "--epochs", "1"];
    arguments.extend(["--rank", "1", "--eval-batches", "1", "--threads", "1", "--data", data]);
    arguments.extend(options);
    run_with_input("gpt2-lora", arguments, input)
}

/// Writes a file, trains on it, and returns standard error.
fn trains(name: &str, bytes: impl AsRef<[u8]>, options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let trained = train(path.to_str().unwrap(), options, "").succeeded();
    let report = read_json(&trained.folder.path().join("out/report.json"));
    assert_eq!(report["labels"], serde_json::json!(["ham", "spam"]), "{name}");
    assert_eq!(report["counts"]["read"], 40, "{name}");
    trained.stderr()
}

#[test]
fn dialects_encodings_and_headers() {
    let semicolons = |end: &str| {
        let row = |text: &str, label: &str| format!("{label};\"{text} für £5\"{end}");
        table(&format!("label;text{end}"), row)
    };
    let latin: Vec<u8> =
        semicolons("\r\n").chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let notes = trains("semicolons.csv", latin, &["--encoding", "latin-1"]);
    assert!(notes.contains("CSV, separator \";\", header, 2 columns"), "{notes}");
    let wide: Vec<u8> = std::iter::once(0xfeff)
        .chain(semicolons("\n").encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let notes = trains("wide.csv", wide, &[]);
    assert!(notes.contains("UTF-16, CSV, separator \";\""), "{notes}");
    let headerless = table("", |text, label| format!("{label}|{text}\n"));
    trains("headerless.csv", headerless, &["--no-header", "--separator", "pipe"]);
    let kaggle = table("v1,v2,,,\r\n", |text, label| format!("{label},\"{text}\",,,\r\n\r\n"));
    trains("kaggle.csv", kaggle, &["--text-column", "v2", "--label-column", "v1"]);
    let marks = table("label\ttext\n", |text, label| format!("{label}\t\"{text}\n"));
    let notes = trains("marks.tsv", &marks, &[]);
    assert!(notes.contains("quotation marks are text"), "{notes}");
    trains("marks.csv", marks.replace('\t', "|"), &["--quote-char", "none"]);
    let array =
        table("", |text, label| format!(",{{\"text\":\"{text}\",\"label\":\"{label}\"}}\n"));
    trains("array.json", format!("[{}]", &array[1..]), &[]);
}

#[test]
fn malformed_tables_are_named_with_line_and_option() {
    let refused = |name: &str, bytes: &str, words: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let all: Vec<&str> = [name].into_iter().chain(words.iter().copied()).collect();
        train(path.to_str().unwrap(), &[], "").failed(&all);
    };
    let open = table("text,label\n", |text, label| {
        let mark = if text.ends_with("10") || text.ends_with("20") { "\"" } else { "" };
        format!("{mark}{},{label}\n", text.replace(',', ""))
    });
    refused("open.csv", &open, &["line 22", "closing quote", "--quote-char none"]);
    let mixed = table("label\ttext\n", |text, label| match label {
        "ham" => format!("ham\t\"{text}\"\n"),
        _ if text.ends_with("21") => format!("spam\t\"a \"{text}\n"),
        _ => format!("spam\t{text}\n"),
    });
    refused("mixed.tsv", &mixed, &["line 23", "closing quote", "--quote-char none"]);
    let mac = csv().replace('\n', "\r");
    refused("mac.csv", &mac, &["lines end with CR alone", "tr "]);
    let joined = csv() + &csv();
    refused("joined.csv", &joined, &["line 42", "repeats the header"]);
    let header = table("label\tmessage\n", |text, label| format!("{label}\t{text}\n"));
    refused(
        "header.tsv",
        &header,
        &["line 1", "looks like a header", "--text-column", "--no-header"],
    );
    refused("latin.csv", "text,label\n", &["no row"]);
    refused("plain.zip", "PK\u{3}\u{4}\u{14}\0plain.csv", &["zip archive", "unpack"]);
    let folder = tempfile::tempdir().unwrap();
    let latin = folder.path().join("latin.csv");
    fs::write(&latin, b"text,label\ncaf\xe9,ham\n").unwrap();
    train(latin.to_str().unwrap(), &[], "").failed(&["line 2", "0xe9", "--encoding"]);
    let comma = folder.path().join("comma.csv");
    fs::write(&comma, csv()).unwrap();
    train(comma.to_str().unwrap(), &["--quote-char", ","], "").failed(&[
        "comma.csv",
        "separator and quote character",
        "--quote-char",
        "--separator",
    ]);
    let wide: Vec<u8> =
        format!("\u{feff}{}", csv()).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let path = folder.path().join("wide.csv");
    fs::write(&path, wide).unwrap();
    train(path.to_str().unwrap(), &["--encoding", "utf-8"], "")
        .failed(&["wide.csv: expected the encoding utf-8", "--encoding utf-16"]);
}

#[test]
fn standard_input_is_split_and_its_checksum_is_of_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    fs::write(&path, csv()).unwrap();
    let piped = train("-", &[], csv()).succeeded();
    let read = train(path.to_str().unwrap(), &[], "").succeeded();
    let results = |finished: &Finished, name: &str| {
        fs::read_to_string(finished.folder.path().join("out").join(name)).unwrap()
    };
    for name in ["train.csv", "test.csv", "predictions.jsonl"] {
        assert_eq!(results(&piped, name), results(&read, name), "{name}");
    }
    let sum = |finished: &Finished| {
        read_json(&finished.folder.path().join("out/report.json"))["data_sha256"].clone()
    };
    assert_eq!(sum(&piped), sum(&read));
}

/// Trains an adapter once, and predicts a table.
fn predict(adapter: &Path, input: &Path, output: &Path, options: &[&str]) -> Finished {
    let [adapter, input, output] = [adapter, input, output].map(|path| path.display().to_string());
    let mut arguments = vec!["predict", "--adapter", &adapter, "--input", &input];
    arguments.extend(["--output", &output]);
    arguments.extend(options);
    run("gpt2-lora", arguments)
}

#[test]
fn predictions_keep_other_columns_and_links() {
    let trained = train("-", &[], csv()).succeeded();
    let adapter = trained.folder.path().join("out/adapter");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let types = workspace().join("crates/dataset/tests/fixtures/tables/types.parquet");
    for name in ["out.csv", "out.tsv", "out.jsonl", "out.parquet"] {
        let predicted = predict(&adapter, &types, &path(name), &[]).succeeded();
        assert_eq!(predicted.stderr().contains("3 NaN or infinite"), name == "out.jsonl");
    }
    let written = fs::read_to_string(path("out.csv")).unwrap();
    assert!(written.contains("one,2026-03-28T19:00:00.500Z,2026-03-28T20:00:00.500+01:00"));
    predict(&adapter, &path("out.parquet"), &path("again.csv"), &[]).succeeded();
    let again = fs::read_to_string(path("again.csv")).unwrap();
    for (line, again) in written.lines().zip(again.lines()) {
        assert!(again.starts_with(line), "{again}");
    }
    // Several files, of which the second has a header too.
    fs::write(path("a.csv"), "id,text\n1,one\n").unwrap();
    fs::write(path("b.csv"), "id,text\n2,\"two\nlines\"\n").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("real.csv", path("link.csv")).unwrap();
    predict(&adapter, &path("?.csv"), &path("link.csv"), &[]).succeeded();
    #[cfg(unix)]
    assert!(path("link.csv").is_symlink());
    let written = fs::read_to_string(path("link.csv")).unwrap();
    assert!(written.starts_with("id,text,predicted,confidence\n1,one,"), "{written}");
    assert!(written.contains("\n2,\"two\nlines\","), "{written}");
    // Its own output, compressed as the name says.
    let again = predict(&adapter, &path("link.csv"), &path("again.gz"), &["--format", "csv"]);
    let note = "note: the table has columns \"predicted\", \"confidence\" already; the added ones \
                are called \"predicted_2\", \"confidence_2\"";
    assert!(again.succeeded().stderr().contains(note));
    assert_eq!(fs::read(path("again.gz")).unwrap()[..2], *b"\x1f\x8b");
    let twice = predict(&adapter, &path("again.gz"), &path("twice.csv"), &[]).succeeded();
    assert!(twice.stderr().contains("predicted_3"), "{}", twice.stderr());
    // Types that Parquet written by polars does not keep.
    let changed = workspace().join("crates/dataset/tests/fixtures/tables/changed.parquet");
    for (output, is_noted) in [("changed.parquet", true), ("changed.csv", false)] {
        let predicted = predict(&adapter, &changed, &path(output), &[]).succeeded().stderr();
        assert_eq!(predicted.contains("the Parquet types of the columns \"map\""), is_noted);
    }
}

#[test]
fn standard_input_is_decoded_and_blank_lines_are_empty_texts() {
    let trained = train("-", &[], csv()).succeeded();
    let adapter = trained.folder.path().join("out/adapter").display().to_string();
    let predict = |options: &[&str], input: &[u8]| {
        let arguments =
            ["predict", "--adapter", &adapter].into_iter().chain(options.iter().copied());
        run_with_input("gpt2-lora", arguments, input)
    };
    let latin = b"caf\xe9 at six\n\nsee you\n";
    predict(&[], latin).failed(&["standard input, line 1", "0xe9", "--encoding (latin-1"]);
    let read = predict(&["--encoding", "latin-1"], latin).succeeded();
    let printed = read.stdout();
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].ends_with("\tcaf\u{e9} at six"), "{printed}");
    assert_eq!((lines.len(), lines[1]), (3, "\t\t"));
    assert!(read.stderr().contains("1 text was empty"), "{}", read.stderr());
    let lossy = predict(&["--encoding", "utf-8-lossy"], latin).succeeded();
    let note = "standard input: 1 malformed UTF-8 sequences were replaced";
    assert!(lossy.stderr().contains(note), "{}", lossy.stderr());
    // The same lines as a file.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("texts.txt").display().to_string();
    fs::write(&path, latin).unwrap();
    let options = ["--input", &path, "--encoding", "latin-1", "--format", "jsonl"];
    let table = predict(&options, b"").succeeded();
    assert_eq!(table.stdout().lines().count(), 3);
    assert!(table.stdout().contains("{\"text\":\"\",\"predicted\":null,"), "{}", table.stdout());
    assert!(table.stderr().contains("1 text was empty"), "{}", table.stderr());

    predict(&["--probabilities"], b"a\n").failed(&["--probabilities", "--input", "--json"]);
    let json = predict(&["--probabilities", "--json"], b"a\n").succeeded().stdout();
    assert!(json.contains("\"probabilities\":{\"ham\":"), "{json}");
    for (labels, problem) in [
        ("ham,ham", "--labels: the label \"ham\" is repeated"),
        ("ham, ham ", "--labels: the label \"ham\" is repeated"),
        ("ham,", "--labels: label 2 is empty"),
        (" ,ham", "--labels: label 1 is empty"),
    ] {
        predict(&["--labels", labels], b"a\n").failed(&[problem, "name every class once"]);
    }
}
