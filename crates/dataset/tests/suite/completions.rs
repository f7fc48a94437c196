//! Examples for language models: every schema in every format, templates, and invalid data.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dataset::{
    CompletionColumns, CompletionExamples, CompletionFiles, CompletionSet, END_OF_TEXT, Format,
    PromptEncoder, PromptFormat, Schema, TableOptions, TableReader, TableWriter, Tokenizer,
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
    CompletionFiles { paths: vec![path.into()], ..CompletionFiles::default() }
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

#[test]
fn columns_of_instructions_are_found_in_any_case() {
    let folder = tempfile::tempdir().unwrap();
    let (line, _) = INSTRUCTIONS.split_once('\n').unwrap();
    let line = line.replace("instruction", "Instruction").replace("output", "Output");
    for name in ["input", "Input", " INPUT "] {
        let line = line.replace("input", name);
        let path = write(&folder, "a.jsonl", &format!("{line}\n{line}\n"));
        let found = marked(&read(&files(path)));
        assert!(found[0].contains("### Input:\ncat\n"), "{name}: {found:?}");
    }
}

#[test]
fn nested_columns_of_parquet_are_messages() {
    use polars::prelude::{
        DataFrame, IntoColumn, IntoSeries, ListChunked, NamedFrom, ParquetWriter, Series,
        StructChunked,
    };
    let folder = tempfile::tempdir().unwrap();
    let conversation = |content: &str| {
        let roles = Series::new("role".into(), ["user", "assistant"]);
        let contents = Series::new("content".into(), [content, "fine"]);
        StructChunked::from_series("".into(), 2, [roles, contents].iter()).unwrap().into_series()
    };
    let rows = [conversation("How are you?"), conversation("And now?")];
    let list: ListChunked = rows.into_iter().map(Some).collect();
    let list = list.into_series().with_name("messages".into());
    let mut frame = DataFrame::new(2, vec![list.into_column()]).unwrap();
    let path = folder.path().join("chat.parquet");
    ParquetWriter::new(fs::File::create(&path).unwrap()).finish(&mut frame).unwrap();
    let examples = read(&files(path));
    assert_eq!(
        marked(&examples),
        [
            "### User:\nHow are you?\n\n### Assistant:\n[fine<end>]",
            "### User:\nAnd now?\n\n### Assistant:\n[fine<end>]"
        ]
    );
}

#[test]
fn prompt_and_completion_may_be_messages() {
    let folder = tempfile::tempdir().unwrap();
    let line =
        r#"{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "d"}]}"#
            .replace('\n', " ");
    let path = write(&folder, "a.jsonl", &format!("{line}\n{line}\n"));
    // The answer in the prompt is not learned.
    let expected =
        "### User:\na\n\n### Assistant:\nb<end>\n\n### User:\nc\n\n### Assistant:\n[d<end>]";
    let examples = read(&files(path));
    assert_eq!(marked(&examples), [expected, expected]);
    // Prompts are messages of the user, which the adapter must know.
    let PromptFormat { template, chat_template, .. } = examples.format();
    assert!(template.is_none() && chat_template.is_some(), "{template:?}");
    let row = r#"{"prompt": "a", "completion": " d"}"#;
    let adapter = Some(examples.format().clone());
    let strings = CompletionFiles { adapter, ..files(write(&folder, "b.jsonl", row)) };
    let set = strings.read_all().unwrap().tokenize_all(&Tokenizer::gpt2(), 100).unwrap();
    let text = Tokenizer::gpt2().decode(&set.sequences[0].ids);
    assert_eq!(text, "### User:\na\n\n### Assistant:\n d<|endoftext|>");
}

#[test]
fn templates_of_the_user_and_of_the_model_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "topic,answer\nsea,\" blue\"\nsky,\" gray\"\n";
    let prompts = CompletionFiles {
        columns: CompletionColumns {
            completion: Some("answer".to_owned()),
            ..CompletionColumns::default()
        },
        prompt_template: Some(write(&folder, "prompt.jinja", "The {{ topic | upper }} is\n")),
        ..files(write(&folder, "a.csv", rows))
    };
    let examples = read(&prompts);
    assert_eq!(marked(&examples), ["The SEA is[ blue<end>]", "The SKY is[ gray<end>]"]);
    assert_eq!(examples.format().template.as_deref(), Some("The {{ topic | upper }} is\n"));

    // As DialoGPT has it, with the token spelled out, and methods of Python's strings.
    let template = "{% for message in messages %}{{ message['content'].strip() }}<|endoftext|>\
                    {% endfor %}";
    let config = serde_json::json!({ "chat_template": template }).to_string();
    write(&folder, "tokenizer_config.json", &config);
    let chat = CompletionFiles {
        tokenizer: Tokenizer::of_model(folder.path()).unwrap(),
        ..files(write(&folder, "chat.jsonl", MESSAGES))
    };
    let examples = read(&chat);
    let note = |examples: &CompletionExamples, word: &str| {
        examples.notes().iter().any(|note| note.contains("chat template") && note.contains(word))
    };
    assert!(note(&examples, "tokenizer_config.json"), "{:?}", examples.notes());
    assert_eq!(marked(&examples)[0], "Hi<end>[Hello<end>]Bye<end>[Ciao<end>]");
    // A template of its own takes the place of the model's.
    let own = "{% for m in messages %}{{ m.role }}: {{ m.content }}|{% endfor %}\
               {% if add_generation_prompt %}assistant: {% endif %}";
    let own = CompletionFiles { chat_template: Some(write(&folder, "own.jinja", own)), ..chat };
    let examples = read(&own);
    assert!(note(&examples, "own.jinja"));
    assert_eq!(marked(&examples)[1], "user: A|assistant: [B|<end>]");
    let standard = read(&files(folder.path().join("chat.jsonl")));
    assert!(note(&standard, "the model has none"));
    assert_ne!(standard.sha256(), examples.sha256(), "a template decides the data");
}

/// The tokenizer with tokens for conversations that `tests/fixtures/make_chat_tokens.py` made.
fn chat_tokens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/chat_tokens")
}

/// Tokens of the prompts of a table for a model that was trained in this format.
fn prompts(
    format: Option<&PromptFormat>,
    tokenizer: &Tokenizer,
    rows: &str,
    column: Option<&str>,
) -> Result<Vec<Vec<u32>>, String> {
    let folder = tempfile::tempdir().unwrap();
    let table = write(&folder, "rows.jsonl", rows);
    let mut table = TableReader::open_records(&[table], &TableOptions::default()).unwrap();
    let encoder = PromptEncoder::new(format, tokenizer).unwrap();
    let chunk = table.next_chunk(100).unwrap().unwrap();
    let rows = encoder.of_table(column).encode(&chunk);
    let ids = rows.and_then(|rows| rows.into_iter().map(|row| Ok(row?.ids)).collect());
    ids.map_err(|error| error.to_string())
}

#[test]
fn special_tokens_of_chat_templates_equal_transformers() {
    let tokenizer = Tokenizer::of_model(&chat_tokens()).unwrap();
    let golden = fs::read(chat_tokens().join("golden.json")).unwrap();
    let golden: Vec<serde_json::Value> = serde_json::from_slice(&golden).unwrap();
    let rows: String = golden.iter().map(|row| format!("{row}\n")).collect();
    let found = prompts(None, &tokenizer, &rows, None).unwrap();
    assert_eq!(found.len(), 4);
    for (found, row) in found.iter().zip(&golden) {
        let expected: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
        assert_eq!(*found, expected, "{row}");
    }
    // In a message the spelling is text, which ends no turn.
    let line = r#"{"messages": [{"role": "user", "content": "a<|im_end|>b</s>"},
        {"role": "assistant", "content": "c<|im_end|>"}]}"#
        .replace('\n', " ");
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, "a.jsonl", &line);
    let files = CompletionFiles { tokenizer: tokenizer.clone(), ..files(path) };
    let examples = files.read_all().unwrap();
    let set = examples.tokenize_all(&tokenizer, 1000).unwrap();
    let ids = &set.sequences[0].ids;
    let count = |token: u32| ids.iter().filter(|&&id| id == token).count();
    let end_of_text = tokenizer.end_of_text();
    assert_eq!([count(701), count(702), count(end_of_text)], [2, 2, 1], "{ids:?}");
    let answer = examples.answer(0, &tokenizer, 1000).unwrap();
    assert_eq!((examples.turn_end(), answer.text.as_str()), (Some("<|im_end|>"), "c<|im_end|>"));
    assert_eq!(tokenizer.decode(&answer.prompt.ids[1..]).matches("<|im_end|>").count(), 2);
}

#[test]
fn chat_templates_see_all_keys_and_may_have_generation_tags() {
    let row = r#"{"messages": [
        {"role": "user", "name": "Ann", "content": "a <b> & 'c'", "tags": ["x", 1]},
        {"role": "assistant", "content": "B"}]}"#;
    let template = "{% if tools is not none or documents is not none %}tools{% endif %}\
                    {% for m in messages %}{% if m.role == 'assistant' %}\n\
                    {%- generation -%}\n  {{ m.content }}.\n{%- endgeneration %}\n\
                    {% else %}{{ m.name }} {{ m.content | tojson }} {{ m.tags | tojson }}: {% endif %}\
                    {% endfor %}";
    let folder = tempfile::tempdir().unwrap();
    let line = format!("{}\n", row.replace('\n', " "));
    let chat_template = Some(write(&folder, "chat.jinja", template));
    let path = write(&folder, "a.jsonl", &line.repeat(2));
    let examples = read(&CompletionFiles { chat_template, ..files(path) });
    let expected = r#"Ann "a <b> & 'c'" ["x", 1]: [B.<end>]"#;
    assert_eq!(marked(&examples), [expected; 2]);
    assert_eq!(examples.format().chat_template.as_deref(), Some(template));
}

#[test]
fn rows_are_prompts_in_the_format_of_the_training() {
    let gpt2 = Tokenizer::gpt2();
    let encode = |text: &str| gpt2.encode(text);
    let format = |template: Option<&str>, chat: Option<&str>| PromptFormat {
        schema: Schema::PromptCompletion,
        template: template.map(str::to_owned),
        chat_template: chat.map(str::to_owned),
    };
    let all = |format: Option<&PromptFormat>, rows: &str| prompts(format, &gpt2, rows, None);
    let row = "{\"instruction\": \"Add.\", \"input\": \"1 and 2\"}\n";
    let alpaca = gpt2.decode(&all(None, row).unwrap()[0]);
    assert!(alpaca.ends_with("Add.\n\n### Input:\n1 and 2\n\n### Response:\n"), "{alpaca}");
    let chat = format(None, Some("{{ messages[-1].role }}: {{ messages[-1].content }}"));
    assert_eq!(all(Some(&chat), row).unwrap(), [encode("user: Add.\n\n1 and 2")]);
    let template = format(Some("{{ topic }} in {{ place }}:"), None);
    let row = "{\"topic\": \"rain\", \"place\": \"May\", \"prompt\": 3}\n";
    assert_eq!(all(Some(&template), row).unwrap(), [encode("rain in May:")]);
    // A list of messages in the named column, and rows that cannot be continued.
    let row = "{\"q\": [{\"role\": \"user\", \"content\": \"a\"}]}\n";
    let found = prompts(Some(&chat), &gpt2, row, Some("q")).unwrap();
    assert_eq!(found, [encode("user: a")]);
    for (number, rows) in [(1, "{\"q\": \"\"}\n".to_owned()), (2, row.to_owned() + "{}\n")] {
        let error = prompts(Some(&chat), &gpt2, &rows, Some("q")).unwrap_err();
        assert!(
            error.ends_with(&format!("rows.jsonl, line {number}: the prompt is empty")),
            "{error}"
        );
    }
    // A template that reads none of the columns has the prompt of the schema.
    let own = format(Some("Q: {{ prompt }}"), None);
    assert_eq!(all(Some(&own), "{\"instruction\": \"a\"}\n").unwrap(), [encode("Q: a")]);
    for row in ["{\"question\": \"a\"}\n", "{\"question\": \"a\", \"prompt\": \"b\"}\n"] {
        let found = prompts(Some(&own), &gpt2, row, Some("question"));
        assert_eq!(found.unwrap(), [encode("Q: a")], "the named column is the prompt");
    }
    // Columns of later rows do not change it, which may be in another batch.
    let rows = "{\"instruction\": \"a\"}\n{\"instruction\": \"a\", \"prompt\": \"b\"}\n";
    assert_eq!(all(Some(&own), rows).unwrap()[0], encode("Q: a"));
    // The error names the variable that no column has.
    let other = format(Some("{{ topic }}:"), None);
    let error = all(Some(&other), "{\"id\": 1}\n").unwrap_err();
    assert!(error.contains("rows.jsonl, line 1") && error.contains("undefined"), "{error}");
    let chat_row = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n";
    let found = gpt2.decode(&all(Some(&own), chat_row).unwrap()[0]);
    assert_eq!(found, "### User:\na\n\n### Assistant:\n");
    for (rows, expected) in [
        ("{\"text\": \"a\"}\n", "no column \"prompt\"; the columns are \"text\""),
        ("{\"prompt\": 3}\n", "rows.jsonl, line 1: the \"prompt\" is 3"),
        ("{\"messages\": []}\n", "line 1: the conversation leaves nothing to answer"),
        (
            "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}\n",
            "ends with a message of the assistant",
        ),
    ] {
        let error = all(None, rows).unwrap_err();
        assert!(error.contains(expected), "{expected} is not in {error}");
    }
    let error = all(Some(&template), "{\"topic\": \"rain\"}\n").unwrap_err();
    assert!(error.contains("rows.jsonl, line 1") && error.contains("undefined"), "{error}");
}

#[test]
fn text_of_special_tokens_in_data_is_text() {
    let folder = tempfile::tempdir().unwrap();
    let line = "{\"text\": \"a<|endoftext|>b\"}\n";
    let examples = read(&files(write(&folder, "a.jsonl", &line.repeat(2))));
    let [train, _] = tokenized(&examples, 100);
    let ends = train.sequences[0].ids.iter().filter(|&&id| id == END_OF_TEXT).count();
    assert_eq!(ends, 2, "one at the beginning, one at the end");
}

#[test]
fn long_examples_are_truncated_or_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let row = |prompt: usize, completion: usize| {
        let [prompt, completion] = [prompt, completion].map(|count| " word".repeat(count));
        format!("{{\"prompt\": \"{prompt}\", \"completion\": \"{completion}\"}}\n")
    };
    let train =
        write(&folder, "train.jsonl", &[row(4, 3), row(4, 8), row(9, 1), row(8, 1)].concat());
    let validation = write(&folder, "validation.jsonl", &row(1, 1));
    let all = CompletionFiles { validation: Some(validation), ..files(train) };
    let examples = read(&all);
    assert_eq!(examples.sizes(), [4, 1]);
    let [train, validation] = tokenized(&examples, 8);
    assert_eq!((train.sequences.len(), train.truncated.len(), train.dropped.len()), (2, 1, 2));
    assert_eq!((train.longest, train.learned()), (13, 4 + 4));
    let (place, tokens) = &train.truncated[0];
    assert!(place.to_string().ends_with("train.jsonl, line 2") && *tokens == 13, "{place}");
    assert!(train.dropped[0].0.to_string().ends_with("train.jsonl, line 3"));
    assert_eq!(train.sequences[1].prompt().len(), 4);
    assert_eq!(validation.tokens(), 3);
    let error = examples.tokenize(&Tokenizer::gpt2(), END_OF_TEXT, 1).unwrap_err().to_string();
    assert!(error.contains("training set") && error.contains("1 tokens"), "{error}");
}

#[test]
fn empty_completions_are_skipped_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let row = |completion: &str| format!("{{\"prompt\": \"a\", \"completion\": {completion}}}\n");
    let rows = [row("\"b\""), row("\" \""), row("\"c\""), row("null")].concat();
    let examples = read(&files(write(&folder, "a.jsonl", &rows)));
    assert_eq!(examples.sizes(), [1, 1]);
    let note = examples.notes().iter().find(|note| note.contains("skipped")).unwrap();
    assert!(note.contains("2 of 4 examples") && note.ends_with("a.jsonl, line 2"), "{note}");
    let error = error(&files(write(&folder, "b.jsonl", &row("\"\""))));
    assert!(error.ends_with("1 of 1 have an empty text, completion or answer"), "{error}");
}

#[test]
fn split_follows_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..30).map(|row| format!("{{\"text\": \"row {row}\"}}\n")).collect();
    let all = files(write(&folder, "a.jsonl", &rows));
    let validation = |seed| {
        let examples = all.read(0.2, seed).unwrap();
        assert_eq!(examples.sizes(), [24, 6]);
        let [_, validation] = tokenized(&examples, 100);
        validation.sequences.iter().map(|it| it.place.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(validation(1), validation(1));
    assert_ne!(validation(1), validation(2));
}

#[test]
fn invalid_examples_are_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let good = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
    let chat = |message: &str| format!("{{\"messages\": [{message}]}}\n");
    for (rows, expected) in [
        ("{\"question\": \"a\", \"answer\": \"b\"}\n".to_owned(), "got \"question\", \"answer\""),
        (
            format!("{good}{{\"prompt\": \"a\", \"completion\": 3}}\n"),
            "line 2: the \"completion\" is 3",
        ),
        (
            format!("{good}{{\"prompt\": [1], \"completion\": \"b\"}}\n"),
            "line 2: the \"prompt\" is [1]",
        ),
        (format!("{good}{{\"completion\": \"b\"}}\n"), "line 2: there is no column \"prompt\""),
        (chat("{\"content\": \"x\"}"), "line 1: message 1 has no role"),
        (chat("{\"role\": \"user\"}"), "line 1: message 1 has no content"),
        (chat("{\"role\": 1, \"content\": \"x\"}"), "the role of message 1 is 1"),
        (chat("7"), "message 1 is 7; it must be an object"),
        ("{\"messages\": \"no list\"}\n".to_owned(), "is not a list of messages in JSON"),
        ("{\"messages\": {}}\n".to_owned(), "it must be a list of messages"),
        ("{\"text\": \"a\\u0000b\"}\n".to_owned(), "line 1: a text has a NUL byte"),
        (good.to_owned(), "too few examples"),
    ] {
        let error = error(&files(write(&folder, "a.jsonl", &rows)));
        assert!(
            error.contains(expected) && error.contains("a.jsonl"),
            "{expected:?} is not in {error:?}"
        );
    }
    let named = CompletionFiles {
        columns: CompletionColumns { prompt: Some("query".to_owned()), ..Default::default() },
        ..files(write(&folder, "a.jsonl", good))
    };
    assert!(error(&named).contains("no column \"query\"; the columns are \"prompt\""));
}

#[test]
fn templates_that_fail_name_file_example_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let data = write(&folder, "a.jsonl", PROMPTS);
    let chats = write(&folder, "chats.jsonl", MESSAGES);
    let prompt = |source: &str| {
        let prompt_template = Some(write(&folder, "p.jinja", source));
        error(&CompletionFiles { prompt_template, ..files(&data) })
    };
    let chat = |source: &str| {
        let chat_template = Some(write(&folder, "c.jinja", source));
        error(&CompletionFiles { chat_template, ..files(&chats) })
    };
    for (error, expected) in [
        (prompt("{{ prompt"), &["p.jinja", "syntax error", "line 1 of the template"][..]),
        (prompt("x\n{{ promt }}"), &["p.jinja", "a.jsonl, line 1", "undefined", "line 2 of"]),
        (prompt("{{ prompt | nothing }}"), &["p.jinja", "unknown filter", "nothing"]),
        (
            prompt("{% for a in range(9000) %}{% for b in range(9000) %}{% endfor %}{% endfor %}"),
            &["a.jsonl, line 1", "fuel"],
        ),
        (
            chat("{{ raise_exception('roles must alternate') }}"),
            &["c.jinja", "chats.jsonl, line 1", "roles must alternate"],
        ),
        // The number of messages changes what is before an answer.
        (
            chat("{{ messages | length }}{{ messages | last }}"),
            &["chats.jsonl, line 1", "message 2"],
        ),
    ] {
        for word in expected {
            assert!(error.contains(word), "{word:?} is not in {error:?}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
    let prompt_template = Some(write(&folder, "p.jinja", "x"));
    let text = files(write(&folder, "t.jsonl", TEXT));
    let error = error(&CompletionFiles { prompt_template, ..text });
    assert!(error.contains("a prompt template needs a completion"), "{error}");
}
