//! Labeled text as people have it: other formats, other columns, more classes,
//! from training to the last command.

use std::{fs, path::Path};

use serde_json::{Value, json};
use test_support::{Finished, fixture, read_json, read_jsonl, run, run_with_input};

/// Four classes, told apart by their words.
const TOPICS: [(&str, &str); 4] = [
    ("Business", "shares profit market bank"),
    ("Sci/Tech", "software space chip research"),
    ("Sports", "match goal team coach"),
    ("World", "minister election border treaty"),
];

/// The topic and the text of a row.
fn news(row: usize) -> (&'static str, String) {
    let (topic, words) = TOPICS[row % 4];
    let words: Vec<&str> = words.split(' ').collect();
    let (one, other) = (words[row / 4 % 4], words[row / 16 % 4]);
    (topic, format!("The {one}, it seems, \"{other}\" number {row}"))
}

fn write(path: &Path, rows: impl Iterator<Item = String>) {
    fs::write(path, rows.map(|row| row + "\n").collect::<String>()).unwrap();
}

/// JSON Lines with columns that no program would guess.
fn write_jsonl(path: &Path, rows: std::ops::Range<usize>) {
    write(
        path,
        rows.map(|row| {
            let (topic, text) = news(row);
            json!({"id": row, "Überschrift (lang)": text, "Ressort": topic}).to_string()
        }),
    );
}

const COLUMNS: [&str; 4] = ["--text-column", "Überschrift (lang)", "--label-column", "Ressort"];

fn train(data: &Path, options: &[&str]) -> Finished {
    train_on(&fixture("tiny"), data, options)
}

fn train_on(model: &Path, data: &Path, options: &[&str]) -> Finished {
    let (model, data) = (model.display().to_string(), data.display().to_string());
    let mut arguments = vec!["train", "--model", &model, "--data", &data, "--out", "out"];
    arguments.extend(options);
    run("gpt2-lora", arguments)
}

#[test]
fn four_classes_of_a_json_file_go_all_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("news.jsonl");
    write_jsonl(&data, 0..240);
    let options = "--epochs 4 --stratify --balance none --threads 1";
    let mut options: Vec<&str> = options.split(' ').collect();
    options.extend(COLUMNS);
    // One that has learned to read.
    let pocket = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights/pocket");
    let trained = train_on(&pocket, &data, &options).succeeded();
    let out = trained.folder.path().join("out");
    let report = read_json(&out.join("report.json"));
    assert_eq!(report["labels"], json!(["Business", "Sci/Tech", "Sports", "World"]));
    assert_eq!(report["examples"], json!({"train": 168, "validation": 24, "test": 48}));
    for class in report["classes"].as_array().unwrap() {
        assert_eq!((&class["train"], &class["test"]), (&json!(42), &json!(12)), "{class}");
    }
    assert!(report["accuracy"]["test"].as_f64().unwrap() > 0.9, "{report}");
    assert_eq!(report["test"]["per_class"][2]["label"], "Sports");

    // On rows that it has not seen.
    let unseen = folder.path().join("unseen.jsonl");
    write_jsonl(&unseen, 1000..1100);
    let adapter = out.join("adapter").display().to_string();
    let (unseen, page) = (unseen.display().to_string(), folder.path().join("page"));
    let mut arguments = vec!["evaluate", "--adapter", &adapter, "--data", &unseen, "--json"];
    arguments.extend(COLUMNS);
    let page_name = page.display().to_string();
    arguments.extend(["--out", &page_name]);
    let printed = run("gpt2-lora", arguments).succeeded().stdout();
    let evaluation: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(evaluation, read_json(&page.join("evaluation.json")));
    assert_eq!(evaluation["examples"], 100);
    let confusion = evaluation["confusion"].as_array().unwrap();
    let all = confusion.iter().flat_map(|row| row.as_array().unwrap());
    assert_eq!(all.map(|count| count.as_u64().unwrap()).sum::<u64>(), 100);
    let accuracy = evaluation["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.9, "{evaluation}");
    let misclassified = read_jsonl(&page.join("misclassified.jsonl"));
    assert_eq!(misclassified.len(), (100.0 * (1.0 - accuracy)).round() as usize);
    let html = fs::read_to_string(page.join("evaluation.html")).unwrap();
    assert!(html.contains("Sci/Tech") && !html.contains("<script"));

    // As a model of its own.
    let merged = folder.path().join("merged");
    let merged_name = merged.display().to_string();
    run("gpt2-lora", ["merge", "--adapter", &adapter, "--out", &merged_name]).succeeded();
    let labels = &read_json(&merged.join("config.json"))["id2label"];
    for (number, (topic, _)) in TOPICS.iter().enumerate() {
        assert_eq!(labels[number.to_string()], *topic);
    }

    // As a table, whose rows keep their order and their columns.
    let predicted = folder.path().join("predicted.csv").display().to_string();
    let mut arguments = vec!["predict", "--adapter", &adapter, "--input", &unseen];
    arguments.extend(["--output", &predicted, "--probabilities"]);
    arguments.extend(&COLUMNS[..2]);
    run("gpt2-lora", arguments).succeeded();
    let text = fs::read_to_string(&predicted).unwrap();
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    let columns = "id,Überschrift (lang),Ressort,predicted,confidence,probability of Business,\
                   probability of Sci/Tech,probability of Sports,probability of World";
    assert_eq!(header.split(',').count(), columns.split(',').count(), "{header}");
    for (row, line) in (1000..1100).zip(lines) {
        assert!(line.contains(&format!("number {row}")), "{line}");
    }
    let right = text
        .lines()
        .skip(1)
        .filter(|line| TOPICS.iter().any(|(topic, _)| line.matches(topic).count() == 2));
    assert_eq!(right.count(), 100 - misclassified.len());
}

#[test]
fn a_table_may_come_and_go_in_any_format() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("news.csv");
    let cell = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let header = std::iter::once("Label,Text".to_owned());
    write(
        &data,
        header.chain((0..80).map(|row| {
            let (topic, text) = news(row);
            format!("{},{}", cell(topic), cell(&text))
        })),
    );
    let trained = train(&data, &["--epochs", "1", "--rank", "2"]).succeeded();
    let adapter = trained.folder.path().join("out/adapter").display().to_string();
    let predict = |input: &Path, output: &Path| {
        let (input, output) = (input.display().to_string(), output.display().to_string());
        let all = ["predict", "--adapter", &adapter, "--input", &input, "--output", &output];
        run("gpt2-lora", all).succeeded();
    };
    let (parquet, jsonl) = (folder.path().join("one.parquet"), folder.path().join("two.jsonl"));
    predict(&data, &parquet);
    predict(&parquet, &jsonl);
    let rows = read_jsonl(&jsonl);
    assert_eq!(rows.len(), 80);
    for (row, record) in rows.iter().enumerate() {
        let (topic, text) = news(row);
        assert_eq!((&record["Label"], &record["Text"]), (&json!(topic), &json!(text)));
        // The same text was classified twice.
        assert_eq!(record["predicted"], record["predicted_2"]);
    }
    // From a pipe, to a pipe, in the format that came.
    let input = "text\nThe match was lost\nShares fell\n";
    let arguments = ["predict", "--adapter", &adapter, "--input", "-", "--input-format", "csv"];
    let printed = run_with_input("gpt2-lora", arguments, input).succeeded().stdout();
    assert!(printed.starts_with("text,predicted,confidence\nThe match was lost,"), "{printed}");
    // What cannot be read leaves nothing behind.
    let broken = folder.path().join("broken.jsonl");
    fs::write(&broken, "{\"text\": \"a\"}\n{\"text\": \n").unwrap();
    let (broken, never) =
        (broken.display().to_string(), folder.path().join("never.csv").display().to_string());
    let all = ["predict", "--adapter", &adapter, "--input", &broken, "--output", &never];
    run("gpt2-lora", all).failed(&["broken.jsonl", "line 2"]);
    assert!(!Path::new(&never).exists());
}

#[test]
fn a_given_split_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_jsonl(&path("train.jsonl"), 0..64);
    write_jsonl(&path("valid.jsonl"), 64..80);
    write_jsonl(&path("test.jsonl"), 80..100);
    let (valid, test) =
        (path("valid.jsonl").display().to_string(), path("test.jsonl").display().to_string());
    let mut options = vec!["--epochs", "1", "--rank", "2"];
    options.extend(["--validation-data", &valid, "--test-data", &test]);
    options.extend(COLUMNS);
    let trained = train(&path("train.jsonl"), &options).succeeded();
    let report = read_json(&trained.folder.path().join("out/report.json"));
    assert_eq!(report["examples"], json!({"train": 64, "validation": 16, "test": 20}));
    let test_rows = fs::read_to_string(trained.folder.path().join("out/test.csv")).unwrap();
    assert!(test_rows.lines().nth(1).unwrap().contains("number 80"), "{test_rows}");
}

#[test]
fn rows_that_cannot_be_used_are_counted_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("news.jsonl");
    let rows = (0..60).map(|row| {
        let (topic, text) = news(row);
        match row {
            7 => json!({"text": "  ", "label": topic}).to_string(),
            11 | 13 => json!({"text": text, "label": null}).to_string(),
            17 => json!({"text": text, "label": "Weather"}).to_string(),
            _ => json!({"text": text, "label": topic}).to_string(),
        }
    });
    write(&data, rows);
    let options = ["--epochs", "1", "--rank", "2", "--balance", "none", "--stratify"];
    let trained = train(&data, &options).succeeded();
    let report = read_json(&trained.folder.path().join("out/report.json"));
    let counts = &report["counts"];
    assert_eq!(counts["read"], 60);
    assert_eq!((&counts["empty_text"], &counts["without_label"]), (&json!(1), &json!(2)));
    assert_eq!(counts["singletons"], json!(["Weather"]));
    let said = trained.stderr();
    for words in
        ["1 of 60 rows without a text", "2 of 60 rows without a label", "\"Weather\" has a single"]
    {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
}
