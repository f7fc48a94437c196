//! Examples for language models: every schema in every format, templates, and invalid data.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dataset::{
    CompletionColumns, CompletionExamples, CompletionFiles, CompletionSet, END_OF_TEXT, Format,
    Schema, TableOptions, TableReader, TableWriter, Tokenizer,
};
use tempfile::TempDir;

/// Examples of each schema as JSON Lines.
const TEXT: &str = "{\"text\": \"one\\ntwo\"}\n{\"text\": \"three\"}\n";
const PROMPTS: &str = "{\"prompt\": \"2 + 2 =\", \"completion\": \" 4\"}\n\
                       {\"prompt\": \"say \\\"hi\\\"\", \"completion\": \" hi, there\"}\n";
const INSTRUCTIONS: &str = "{\"instruction\": \"Spell it.\", \"input\": \"cat\", \"output\": \"c-a-t\"}\n\
                            {\"instruction\": \"Name a color.\", \"input\": \"\", \"output\": \"Red\"}\n";
const MESSAGES: &str = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, \
                        {\"role\": \"assistant\", \"content\": \"Hello\"}, \
                        {\"role\": \"user\", \"content\": \"Bye\"}, \
                        {\"role\": \"assistant\", \"content\": \"Ciao\"}]}\n\
                        {\"messages\": [{\"role\": \"user\", \"content\": \"A\"}, \
                        {\"role\": \"assistant\", \"content\": \"B\"}]}\n";

fn files(path: impl Into<PathBuf>) -> CompletionFiles {
    CompletionFiles {
        paths: vec![path.into()],
        end_of_text: "<|endoftext|>".to_owned(),
        ..CompletionFiles::default()
    }
}

fn write(folder: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Reads both sets; one example is held out.
fn read(files: &CompletionFiles) -> CompletionExamples {
    files.read(0.01, 1).unwrap_or_else(|error| panic!("{error}"))
}

fn error(files: &CompletionFiles) -> String {
    files.read(0.01, 1).unwrap_err().to_string()
}

fn tokenized(examples: &CompletionExamples, max_length: usize) -> [CompletionSet; 2] {
    examples.tokenize(&Tokenizer::gpt2(), END_OF_TEXT, max_length).unwrap()
}

/// All examples as text in the order of their lines, with brackets around what is learned.
fn marked(examples: &CompletionExamples) -> Vec<String> {
    let mut all: Vec<_> =
        tokenized(examples, 1000).into_iter().flat_map(|set| set.sequences).collect();
    all.sort_by_key(|sequence| sequence.place.to_string());
    let text = |sequence: &dataset::Sequence| {
        let tokens: Vec<_> = sequence.ids.iter().copied().zip(&sequence.is_learned).collect();
        let runs = tokens.chunk_by(|one, next| one.1 == next.1);
        let run = |run: &[(u32, &bool)]| {
            let decode = |&(id, _): &(u32, &bool)| match id {
                END_OF_TEXT => "<end>".to_owned(),
                id => Tokenizer::gpt2().decode(&[id]),
            };
            let text: String = run.iter().map(decode).collect();
            if *run[0].1 { format!("[{text}]") } else { text }
        };
        runs.map(run).collect()
    };
    all.iter().map(text).collect()
}

/// Copies JSON Lines to a file of another format.
fn converted(folder: &TempDir, json: &str, format: &str) -> PathBuf {
    let source = write(folder, "source.jsonl", json);
    let path = folder.path().join(format!("data.{format}"));
    if format == "json" {
        let array = format!("[{}]", json.trim_end().replace('\n', ",\n"));
        fs::write(&path, array).unwrap();
        return path;
    }
    if format == "jsonl" {
        return source;
    }
    // The reader wants a text column, which may be any column of strings.
    let rows: Vec<serde_json::Map<String, serde_json::Value>> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let cell = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let names: Vec<&String> = rows[0].keys().collect();
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let separator = if format == "tsv" { "\t" } else { "," };
    let mut text = names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(separator);
    for row in &rows {
        let cells: Vec<String> = row.values().map(|value| quoted(&cell(value))).collect();
        text.push_str(&format!("\n{}", cells.join(separator)));
    }
    let csv = if format == "parquet" { folder.path().join("source.csv") } else { path.clone() };
    fs::write(&csv, text + "\n").unwrap();
    if format == "parquet" {
        let options = TableOptions {
            columns: dataset::Columns { text: Some(names[0].clone()), label: None },
            ..TableOptions::default()
        };
        copy(&csv, &path, &options);
    }
    path
}

fn copy(from: &Path, to: &Path, options: &TableOptions) {
    let mut reader = TableReader::open(from, options, false).unwrap();
    let mut writer = TableWriter::create(to, Some(Format::Parquet)).unwrap();
    while let Some(chunk) = reader.next_chunk(100).unwrap() {
        writer.write(&chunk, &[]).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn every_schema_is_read_from_every_format() {
    let alpaca = "Below is an instruction that describes a task. Write a response that \
                  appropriately completes the request.\n\n### Instruction:\n";
    let expected = [
        (TEXT, Schema::Text, ["<end>[one\ntwo<end>]".to_owned(), "<end>[three<end>]".to_owned()]),
        (
            PROMPTS,
            Schema::PromptCompletion,
            ["2 + 2 =[ 4<end>]".to_owned(), "say \"hi\"[ hi, there<end>]".to_owned()],
        ),
        (
            INSTRUCTIONS,
            Schema::Instruction,
            [
                format!("{alpaca}Spell it.\n\n### Input:\ncat\n\n### Response:\n[c-a-t<end>]"),
                format!("{alpaca}Name a color.\n\n### Response:\n[Red<end>]"),
            ],
        ),
        (
            MESSAGES,
            Schema::Messages,
            [
                "### User:\nHi\n\n### Assistant:\n[Hello<end>]\n\n### User:\nBye\n\n### Assistant:\n\
                 [Ciao<end>]"
                    .to_owned(),
                "### User:\nA\n\n### Assistant:\n[B<end>]".to_owned(),
            ],
        ),
    ];
    for (json, schema, texts) in expected {
        for format in ["jsonl", "json", "csv", "tsv", "parquet"] {
            let folder = tempfile::tempdir().unwrap();
            let examples = read(&files(converted(&folder, json, format)));
            assert_eq!(examples.format().schema, schema, "{format}");
            assert_eq!(examples.notes()[0], format!("schema: {schema}"));
            assert_eq!(marked(&examples), texts, "{schema} in {format}");
        }
    }
}
