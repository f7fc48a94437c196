//! Memory of predictions for tables of a million rows in every format, and of ten million rows that
//! are scored into a directory.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use dataset::{Columns, TableOptions, TableReader, TableWriter};
use polars::prelude::{Column, DataFrame, NamedFrom, ParquetWriter, Series};
use test_support::{binary, fixture, run};

use crate::scoring::{adapter, parts, read_parquet, write_parquet};

const ROWS: usize = 1_000_000;
/// Rows of the run that a large one is compared with: the model, the libraries and one chunk.
const FEW_ROWS: usize = 1_000;
/// Most additional memory compared with few rows.
const MOST_MEGABYTES: u64 = 100;

const INPUTS: [&str; 8] = [
    "groups.parquet",
    "one-group.parquet",
    "in.csv",
    "in.csv.gz",
    "in.csv.zst",
    "in.tsv",
    "in.jsonl",
    "array.json",
];
const OUTPUTS: [&str; 3] = ["out.csv", "out.jsonl", "out.parquet"];

/// Value of a column in a row.
type Cell = fn(usize) -> String;

fn text(row: usize) -> String {
    let words = ["free", "prize", "dinner", "home", "call"];
    format!("the {}, \"{}\" {row}", words[row % 5], words[row / 5 % 5])
}

/// Writes a table in all formats.
fn write_inputs(folder: &Path, rows: usize) {
    let path = |name: &str| folder.join(name);
    let create = |name: &str| BufWriter::new(File::create(path(name)).unwrap());
    let (mut csv, mut array) = (create("in.csv"), create("array.json"));
    writeln!(csv, "id,text").unwrap();
    write!(array, "[").unwrap();
    for row in 0..rows {
        let text = text(row);
        let quoted = text.replace('"', "\"\"");
        writeln!(csv, "{row},\"{quoted}\"").unwrap();
        let comma = if row > 0 { "," } else { "" };
        let object = serde_json::json!({"id": row.to_string(), "text": text});
        write!(array, "{comma}{object}").unwrap();
    }
    writeln!(array, "]").unwrap();
    for file in [&mut csv, &mut array] {
        file.flush().unwrap();
    }
    for name in INPUTS {
        if path(name).exists() || name == "one-group.parquet" {
            continue;
        }
        let mut reader =
            TableReader::open(path("in.csv"), &TableOptions::default(), false).unwrap();
        let mut writer = TableWriter::create(path(name), None).unwrap();
        while let Some(chunk) = reader.next_chunk(4096).unwrap() {
            writer.write(&chunk, &[]).unwrap();
        }
        writer.finish().unwrap();
    }
    let id = |row: usize| row.to_string();
    let columns: [(&str, Cell); 2] = [("id", id), ("text", text)];
    let column = |(name, value): (&str, Cell)| -> Column {
        let values: Vec<String> = (0..rows).map(value).collect();
        Series::new(name.into(), values).into()
    };
    let mut frame = DataFrame::new(rows, columns.map(column).to_vec()).unwrap();
    let file = File::create(path("one-group.parquet")).unwrap();
    ParquetWriter::new(file).with_row_group_size(Some(rows)).finish(&mut frame).unwrap();
}

/// Returns the largest memory of a process in kB, once it has succeeded.
fn peak(mut child: Child) -> u64 {
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0));
        thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    peak
}

/// Predicts a table and returns the peak in kB and the seconds.
fn predict(adapter: &Path, input: &Path, output: &Path) -> (u64, f64) {
    let begin = Instant::now();
    let mut command = Command::new(binary("gpt2-lora"));
    command.args(["predict", "--threads", "1", "--adapter"]).arg(adapter);
    command.arg("--input").arg(input).arg("--output").arg(output);
    let child = command.env("OMP_NUM_THREADS", "1").stderr(Stdio::null()).spawn().unwrap();
    (peak(child), begin.elapsed().as_secs_f64())
}

/// Checks that the rows are all there, in their order.
fn check_rows(output: &Path) {
    let columns = Columns { text: Some("text".to_owned()), label: None };
    let options = TableOptions::with_columns(&columns);
    let mut reader = TableReader::open(output, &options, false).unwrap();
    let mut rows = 0;
    while let Some(chunk) = reader.next_chunk(4096).unwrap() {
        for written in chunk.texts() {
            assert_eq!(*written, text(rows));
            rows += 1;
        }
    }
    assert_eq!(rows, ROWS, "{}", output.display());
}

/// With `--nocapture` it prints the table of docs/performance.md.
#[test]
#[ignore = "needs an hour and 1 GB of disk"]
fn a_million_rows_keep_their_order_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (fixture("tiny"), fixture("messages.tsv"));
    let train = ["train", "--epochs", "1", "--out", "out", "--model"].map(Path::new);
    let trained = run("gpt2-lora", train.into_iter().chain([&*model, Path::new("--data"), &*data]));
    let trained = trained.succeeded();
    let adapter = trained.folder.path().join("out/adapter");
    let [few, many]: [PathBuf; 2] = ["few", "many"].map(|name| folder.path().join(name));
    for (folder, rows) in [(&few, FEW_ROWS), (&many, ROWS)] {
        fs::create_dir(folder).unwrap();
        write_inputs(folder, rows);
    }
    println!("| input | output | MB beside {FEW_ROWS} rows | s |\n|---|---|---|---|");
    let mut too_large = Vec::new();
    for input in INPUTS {
        for output in OUTPUTS {
            let (base, _) = predict(&adapter, &few.join(input), &few.join(output));
            let (peak, seconds) = predict(&adapter, &many.join(input), &many.join(output));
            let megabytes = peak.saturating_sub(base) / 1000;
            println!("| {input} | {output} | {megabytes} | {seconds:.0} |");
            assert!(base > 0 && peak > 0);
            check_rows(&many.join(output));
            if megabytes >= MOST_MEGABYTES {
                too_large.push((input, output, megabytes));
            }
        }
    }
    assert!(too_large.is_empty(), "{too_large:?}");
}

/// Files of the large table, and rows of each.
const FILES: usize = 10;
const ROWS_PER_FILE: usize = 1_000_000;

#[test]
#[ignore = "needs an hour and 1 GB of disk"]
fn ten_million_rows_are_scored_in_the_memory_of_one_shard() {
    let folder = tempfile::tempdir().unwrap();
    let [few, many]: [PathBuf; 2] = ["few", "many"].map(|name| folder.path().join(name));
    for (folder, files, rows) in [(&few, 1, 40_000), (&many, FILES, ROWS_PER_FILE)] {
        fs::create_dir(folder).unwrap();
        for file in 0..files {
            let path = folder.join(format!("{file}.parquet"));
            write_parquet(&path, file * rows, rows, 20_000);
        }
    }
    let out = folder.path().join("out");
    let (base, _) = predict(&adapter(), &few, &folder.path().join("few-out/"));
    let (peak, seconds) = predict(&adapter(), &many, &out.join(""));
    println!("{} MB beside 40,000 rows, {seconds:.0} s", peak.saturating_sub(base) / 1000);
    assert!(base > 0 && peak.saturating_sub(base) / 1000 < MOST_MEGABYTES, "{base} {peak}");
    let mut row = 0;
    for part in parts(&out) {
        let frame = read_parquet(&part);
        for id in frame.column("id").unwrap().i64().unwrap().iter() {
            assert_eq!(id, Some(row));
            row += 1;
        }
    }
    assert_eq!(row as usize, FILES * ROWS_PER_FILE);
}
