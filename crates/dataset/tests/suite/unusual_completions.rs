//! Examples for language models that are unusual or invalid: rows of several schemas, messages,
//! nested JSON, and templates that are hostile or no text.

use std::{fs, path::PathBuf};

use dataset::{
    CompletionExamples, CompletionFiles, Error, PromptEncoder, PromptFormat, Schema, TableOptions,
    TableReader, Tokenizer,
};
use serde_json::json;
use tempfile::TempDir;

/// Chat template in the format of ChatML, which prints no tools.
const CHAT_ML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + \
                       '<|im_end|>\n' }}{% endfor %}\
                       {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A folder with a table and templates.
struct Case {
    folder: TempDir,
    chat: Option<PathBuf>,
    prompt: Option<PathBuf>,
}

impl Case {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), chat: None, prompt: None }
    }

    fn chat(source: &str) -> Self {
        let case = Self::new();
        Self { chat: Some(case.write("chat.jinja", source)), ..case }
    }

    fn prompt(source: &str) -> Self {
        let case = Self::new();
        Self { prompt: Some(case.write("prompt.jinja", source)), ..case }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn read(&self, rows: &str) -> dataset::Result<CompletionExamples> {
        let files = CompletionFiles {
            paths: vec![self.write("rows.jsonl", rows)],
            chat_template: self.chat.clone(),
            prompt_template: self.prompt.clone(),
            ..CompletionFiles::default()
        };
        files.read_all()
    }

    /// Texts of the examples.
    fn texts(&self, rows: &str) -> Vec<String> {
        let examples = self.read(rows).unwrap_or_else(|error| panic!("{error}"));
        let set = examples.tokenize_all(&Tokenizer::gpt2(), 100_000).unwrap();
        let text = |sequence: &dataset::Sequence| Tokenizer::gpt2().decode(&sequence.ids);
        set.sequences.iter().map(text).collect()
    }

    #[track_caller]
    fn refuses(&self, rows: &str, words: &[&str]) {
        let error = self.read(rows).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in {error:?}");
        }
        assert!(!error.contains('\n'), "{error}");
        println!("{error}");
    }
}

fn notes(examples: &CompletionExamples) -> String {
    examples.notes().join("\n")
}

fn conversation(messages: &[serde_json::Value]) -> String {
    format!("{}\n", json!({ "messages": messages }))
}

fn message(role: &str, content: &str) -> serde_json::Value {
    json!({"role": role, "content": content})
}

const PAIR: &str = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";

fn chat() -> String {
    conversation(&[message("user", "a"), message("assistant", "b")])
}

#[test]
fn deeply_nested_templates_are_one_error_or_rendered() {
    let count = 10_000;
    let around = |open: &str, close: &str| {
        format!("{{{{ {}1{} }}}}", open.repeat(count), close.repeat(count))
    };
    let nested_value = "{% set ns = namespace(x=1) %}{% for i in range(50000) %}\
                        {% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | string | length }}";
    for source in [
        around("not ", ""),
        around("-", ""),
        around("", "+1"),
        around("", " if 1 else 1"),
        around("", "|string"),
        around("", ".a"),
        around("(", ")"),
        around("[", "]"),
        format!("{}{}", "{% if 1 %}".repeat(4000), "{% endif %}".repeat(4000)),
        format!("{{% if false %}}{}{{% endif %}}", "{% elif false %}".repeat(8000)),
        nested_value.to_owned(),
        // The error has the value.
        nested_value.replace("[ns.x]", "[[[[[[[[ns.x]]]]]]]]"),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
    ] {
        for (case, rows) in [(Case::prompt(&source), PAIR), (Case::chat(&source), &chat())] {
            if let Err(error) = case.read(rows) {
                let error = error.to_string();
                assert!(error.len() < 500 && error.contains("line 1"), "{error}");
            }
        }
    }
    for source in [around("(", ")"), around("[", "]")] {
        Case::prompt(&source).refuses(PAIR, &["prompt.jinja", "maximum recursion limits"]);
    }
    let long = format!("{{{{ {}1 }}}}", "-".repeat(130 << 10));
    Case::prompt(&long).refuses(PAIR, &["prompt.jinja", "133127 bytes, expected at most 131072"]);
    Case::chat(&long).refuses(&chat(), &["chat.jinja", "expected at most 131072"]);
    let longest = format!("{{{{ {}1 }}}}", "-".repeat((128 << 10) - 7));
    assert_eq!(Case::prompt(&longest).texts(PAIR), ["-1b<|endoftext|>"]);
}

#[test]
fn templates_have_neither_byte_order_mark_nor_nul() {
    let case = Case::prompt("\u{feff}Q: {{ prompt }} A:");
    assert_eq!(case.texts(PAIR), ["Q: a A:b<|endoftext|>"]);
    let case = Case::chat(&format!("\u{feff}{CHAT_ML}"));
    assert!(case.texts(&chat())[0].starts_with("<|im_start|>user"));
    Case::prompt("a\n\0{{ prompt }}").refuses(PAIR, &["prompt.jinja", "line 2 has a NUL byte"]);
    Case::chat(&format!("\0{CHAT_ML}")).refuses(&chat(), &["chat.jinja", "line 1 has a NUL byte"]);
}

#[cfg(unix)]
#[test]
fn templates_are_regular_files() {
    let mut case = Case::new();
    let pipe = case.folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    case.prompt = Some(pipe.clone());
    case.refuses(PAIR, &["pipe", "it is not a regular file"]);
    (case.prompt, case.chat) = (None, Some(pipe));
    case.refuses(&chat(), &["pipe", "it is not a regular file"]);
    case.chat = Some(case.folder.path().to_owned());
    case.refuses(&chat(), &["it is not a regular file"]);
}

#[test]
fn prompt_templates_read_columns_that_exist() {
    for source in
        ["{% if nope %}x{% endif %}", "{{ 'x' if nope }}", "{{ nope or 'x' }}", "{{ not nope }}"]
    {
        let case = Case::prompt(&format!("{{{{ prompt }}}}\n{source}"));
        let line = "(line 2 of the template)";
        case.refuses(PAIR, &["prompt.jinja", "rows.jsonl, line 1", "`nope` is undefined", line]);
    }
    let asks = "{% if nope is defined %}{{ nope }}{% endif %}{{ nope | default('n') }}";
    assert_eq!(Case::prompt(asks).texts(PAIR), ["nb<|endoftext|>"]);
    // A row may lack a column of other rows.
    let rows = "{\"prompt\": \"a\", \"completion\": \"b\"}\n\
                {\"prompt\": \"a\", \"completion\": \"b\", \"hint\": \"c\"}\n";
    let case = Case::prompt("{% if hint %}({{ hint }}) {% endif %}{{ prompt }}:");
    assert_eq!(case.texts(rows), ["a:b<|endoftext|>", "(c) a:b<|endoftext|>"]);
}

#[test]
fn rows_of_another_schema_are_named() {
    let pair = "{\"prompt\": \"a\", \"completion\": \"b\"}\n".to_owned();
    let text = "{\"text\": \"a\"}\n".to_owned();
    let says = "the row has other columns than the first one";
    for (first, other, columns) in [
        (chat(), &pair, r#""completion", "prompt" instead of "messages""#),
        (pair.clone(), &chat(), r#""messages" instead of "completion", "prompt""#),
        (pair.clone(), &text, r#""text" instead of"#),
        (text.clone(), &pair, r#"instead of "text""#),
        (text.clone(), &"{\"Text\": \"b\"}\n".to_owned(), r#""Text" instead of "text""#),
        (
            pair.clone(),
            &"{\"prompt\": \"a\", \"response\": \"b\"}\n".to_owned(),
            r#""prompt", "response" instead of"#,
        ),
    ] {
        for before in [1, 3, 5000] {
            let rows = first.repeat(before) + other + &first;
            let line = format!("rows.jsonl, line {}: ", before + 1);
            Case::new().refuses(&rows, &[&line, says, columns]);
        }
    }
    // Prompts of a table.
    let case = Case::new();
    let path = case.write("rows.jsonl", "{\"prompt\": \"a\"}\n".repeat(2) + &chat());
    let mut table = TableReader::open_records(&[path], &TableOptions::default()).unwrap();
    let encoder = PromptEncoder::new(None, &Tokenizer::gpt2()).unwrap();
    let chunk = table.next_chunk(100).unwrap().unwrap();
    let rows = encoder.of_table(None).encode(&chunk).unwrap();
    assert!(rows[0].is_ok() && rows[1].is_ok());
    let error = rows[2].as_ref().unwrap_err().to_string();
    assert!(error.contains("rows.jsonl, line 3: the row has other columns"), "{error}");
    // Further columns do not change the schema.
    let more = "{\"prompt\": \"c\", \"completion\": \"d\", \"id\": 3}\n";
    assert_eq!(Case::new().texts(&(pair + more)), ["ab<|endoftext|>", "cd<|endoftext|>"]);
}

#[test]
fn answers_that_call_tools_have_no_content() {
    let call = json!([{"type": "function", "function": {"name": "now", "arguments": {}}}]);
    let tools = "{% for m in messages %}[{{ m.role }}] {{ m.content if m.content is not none }}\
                 {% for call in m.tool_calls %}call {{ call.function.name }}{% endfor %}\
                 {{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}";
    for answer in [
        json!({"role": "assistant", "content": null, "tool_calls": call}),
        json!({"role": "assistant", "content": "", "tool_calls": call}),
        json!({"role": "assistant", "tool_calls": call}),
    ] {
        let rows = conversation(&[message("user", "a"), answer.clone()]);
        let case = Case::chat(tools);
        let expected = "[user] a<|endoftext|>[assistant] call now<|endoftext|>";
        assert_eq!(case.texts(&rows), [expected]);
        let notes = notes(&case.read(&rows).unwrap());
        let expected = "1 answers of the assistant have no content";
        assert_eq!(notes.contains(expected), answer["content"].is_null(), "{notes}");
        // Training would learn an empty answer.
        Case::new().refuses(&rows, &["line 1", "leaves out message 2"]);
    }
    let null = json!({"role": "assistant", "content": null});
    let rows = conversation(&[message("user", "a"), null]) + &chat();
    let case = Case::new();
    assert_eq!(case.texts(&rows).len(), 1, "an empty answer is skipped");
    let no_calls = json!({"role": "assistant", "content": "", "tool_calls": []});
    let rows = conversation(&[message("user", "a"), no_calls]) + &chat();
    assert_eq!(case.texts(&rows).len(), 1, "so is one without calls");
    let user = conversation(&[json!({"role": "user", "content": null}), message("assistant", "b")]);
    case.refuses(&user, &["the content of message 1 is null; it must be a string"]);
    // As with transformers, the template decides what becomes of none.
    let rows = conversation(&[
        message("user", "a"),
        json!({"role": "assistant", "content": null, "tool_calls": call}),
    ]);
    Case::chat(CHAT_ML).refuses(&rows, &["chat.jinja", "line 1", "string and none"]);
}

#[test]
fn chat_templates_describe_the_tools_of_a_conversation() {
    let tools = json!([{"type": "function", "function": {"name": "now"}}]);
    let template = "{% if tools %}{{ tools[0].function.name }}; {% endif %}".to_owned() + CHAT_ML;
    let row = |tools: &serde_json::Value| {
        let messages = [message("user", "a"), message("assistant", "b")];
        format!("{}\n", json!({ "messages": messages, "tools": tools }))
    };
    let case = Case::chat(&template);
    let text = |tools: &serde_json::Value| case.texts(&row(tools)).remove(0);
    let without = text(&json!(null));
    assert!(without.starts_with("<|im_start|>user"), "{without}");
    assert_eq!(text(&json!([])), without);
    // As the cell of a format without lists.
    for tools in [tools.clone(), json!(tools.to_string())] {
        assert_eq!(text(&tools), format!("now; {without}"));
    }
    let notes_of = |case: &Case, rows: &str| notes(&case.read(rows).unwrap());
    let note = "the chat template leaves out the tools of 2 conversations; the first is in";
    let rows = row(&json!([])) + &row(&tools).repeat(2);
    assert!(!notes_of(&case, &rows).contains("tools"));
    for case in [Case::new(), Case::chat(CHAT_ML)] {
        let notes = notes_of(&case, &rows);
        assert!(notes.contains(note) && notes.contains("rows.jsonl, line 2"), "{notes}");
    }
    // Empty cells, and a column of another kind where no template reads it.
    for tools in ["", " ", "[]"] {
        assert_eq!(text(&json!(tools)), without);
        assert!(!notes_of(&Case::new(), &row(&json!(tools))).contains("tools"));
    }
    let notes = notes_of(&Case::new(), &row(&json!("hammer, saw")));
    assert!(notes.contains("leaves out the tools of 1 conversations"), "{notes}");
    for (tools, says) in [
        (json!("now"), "\"tools\" is not a list of tools in JSON: expected value"),
        (json!({"name": "now"}), "\"tools\" is {\"name\":\"now\"}; it must be a list of tools"),
    ] {
        case.refuses(&row(&tools), &["rows.jsonl, line 1: ", says]);
    }
}

#[test]
fn adapter_templates_are_named_where_they_are_used() {
    let format = |schema, template: Option<&str>, chat: Option<&str>| PromptFormat {
        schema,
        template: template.map(str::to_owned),
        chat_template: chat.map(str::to_owned),
    };
    let chat = format(Schema::Messages, None, Some(CHAT_ML));
    let case = Case::prompt("Q: {{ prompt }}");
    let files = CompletionFiles {
        paths: vec![case.write("rows.jsonl", PAIR)],
        prompt_template: case.prompt.clone(),
        adapter: Some(chat.clone()),
        ..CompletionFiles::default()
    };
    // All prompts have the template of the file.
    let examples = files.read_all().unwrap();
    let expected = format(Schema::PromptCompletion, Some("Q: {{ prompt }}"), None);
    assert_eq!((examples.format(), examples.turn_end()), (&expected, None));
    let examples = CompletionFiles { prompt_template: None, ..files }.read_all().unwrap();
    assert_eq!(examples.format(), &PromptFormat { schema: Schema::PromptCompletion, ..chat });
    assert_eq!(examples.turn_end(), Some("<|im_end|>"));
}

#[test]
fn unusual_messages_are_noted() {
    let rows =
        conversation(&[message("bot", "a"), message("user", "b"), message("assistant", "c")])
            + &conversation(&[
                json!({"role": "user", "content": "a", "name": "Ann"}),
                message("critic", "b"),
                message("assistant", "c"),
            ]);
    let notes_of = |case: &Case| notes(&case.read(&rows).unwrap());
    let notes = notes_of(&Case::new());
    let roles = "2 messages have unusual roles, \"bot\", \"critic\", expected \"system\"";
    assert!(notes.contains(roles), "{notes}");
    assert!(notes.contains("the first is in") && notes.contains("rows.jsonl, line 1"), "{notes}");
    let more = "leaves out what 1 messages have beside role and content: \"name\"";
    assert!(notes.contains(more), "{notes}");
    let notes = notes_of(&Case::chat(CHAT_ML));
    assert!(notes.contains(roles) && !notes.contains("beside role and content"), "{notes}");
    // Prompts of a table.
    let case = Case::new();
    let path = case.write("rows.jsonl", conversation(&[message("bot", "a"), message("user", "b")]));
    let mut table = TableReader::open_records(&[path], &TableOptions::default()).unwrap();
    let encoder = PromptEncoder::new(None, &Tokenizer::gpt2()).unwrap();
    let mut prompts = encoder.of_table(None);
    assert_eq!(prompts.notes(), [""; 0]);
    prompts.encode(&table.next_chunk(100).unwrap().unwrap()).unwrap().remove(0).unwrap();
    let notes = prompts.notes();
    assert!(notes.len() == 1 && notes[0].starts_with("1 messages have unusual roles"), "{notes:?}");
    let usual = Case::new().read(&chat()).unwrap();
    assert!(!usual.notes().iter().any(|note| note.contains("messages have")), "{usual:?}");
}

#[test]
fn nested_json_has_every_key_once_and_one_position() {
    let twice = "{\"role\": \"user\", \"content\": \"a\", \"content\": \"b\"}";
    let rows = format!("{}{{\"messages\": [{twice}]}}\n", chat().repeat(2));
    let error = Case::new().read(&rows).unwrap_err();
    assert!(matches!(&error, Error::Line { line: 3, .. }), "{error}");
    let says = "the \"messages\" is malformed: an object has the key \"content\" twice; rename one";
    assert!(error.to_string().ends_with(says), "{error}");
    // In the cell of a CSV file.
    let case = Case::new();
    for (cell, says) in [
        (format!("[{twice}]"), "an object has the key \"content\" twice"),
        ("[1, \n2".to_owned(), "is not a list of messages in JSON: EOF while parsing a list"),
    ] {
        let cell = cell.replace('"', "\"\"");
        let path = case.write("rows.csv", format!("messages,id\n\"{cell}\",1\n"));
        let files = CompletionFiles { paths: vec![path], ..CompletionFiles::default() };
        let error = files.read_all().unwrap_err().to_string();
        assert!(error.contains("rows.csv, line 2: ") && error.contains(says), "{error}");
        assert_eq!(error.matches("line").count(), 1, "{error}");
    }
    let surrogate = "{\"text\": \"a\"}\n{\"text\": \"\\ud800\"}\n";
    let error = Case::new().read(surrogate).unwrap_err().to_string();
    assert!(error.contains("rows.jsonl, line 2: "), "{error}");
    assert_eq!(error.matches("line").count(), 1, "{error}");
}

#[test]
fn conversations_may_begin_with_the_assistant() {
    let rows = conversation(&[
        message("assistant", "Hi"),
        message("user", "a"),
        message("assistant", "b"),
    ]);
    let learned = |case: &Case| -> Vec<String> {
        let set = case.read(&rows).unwrap().tokenize_all(&Tokenizer::gpt2(), 1000).unwrap();
        let sequence = &set.sequences[0];
        let tokens: Vec<(u32, bool)> =
            sequence.ids.iter().copied().zip(sequence.is_learned.iter().copied()).collect();
        let runs = tokens.chunk_by(|one, next| one.1 == next.1);
        let ids = |run: &[(u32, bool)]| run.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        runs.map(|run| Tokenizer::gpt2().decode(&ids(run))).collect()
    };
    let expected = [
        "### Assistant:\n",
        "Hi<|endoftext|>",
        "\n\n### User:\na\n\n### Assistant:\n",
        "b<|endoftext|>",
    ];
    assert_eq!(learned(&Case::new()), expected);
    let found = learned(&Case::chat(CHAT_ML));
    assert_eq!(found[..2], ["<|im_start|>assistant\n", "Hi<|im_end|>\n"]);
    let first = "{{ messages[0].role.upper() }}{% for m in messages %}{{ m.content }}{% endfor %}";
    Case::chat(first).refuses(&rows, &["line 1", "begins with an answer of the assistant"]);
    let raises = "{% if messages and messages[0].role != 'user' %}\
                  {{ raise_exception('begin with\na question') }}{% endif %}";
    Case::chat(raises).refuses(&rows, &["line 1", "begin with\\na question"]);
}

#[test]
fn long_conversations_take_little_time() {
    let role = |index: usize| if index.is_multiple_of(2) { "user" } else { "assistant" };
    let messages: Vec<_> = (0..1000).map(|index| message(role(index), "some words")).collect();
    for case in [Case::new(), Case::chat(CHAT_ML)] {
        let start = std::time::Instant::now();
        let text = &case.texts(&conversation(&messages))[0];
        // It takes less than a second, and took eleven when each rendering converted the messages.
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
        assert_eq!(text.matches("some words").count(), 1000);
    }
}

#[test]
fn ordinary_tokens_that_end_texts_are_text_in_templates() {
    let folder = tempfile::tempdir().unwrap();
    // The full stop of GPT-2.
    fs::write(folder.path().join("config.json"), r#"{"eos_token_id": 13}"#).unwrap();
    let tokenizer = Tokenizer::of_model(folder.path()).unwrap();
    assert_eq!(tokenizer.decode(&[tokenizer.end_of_text()]), ".");
    let case = Case::new();
    let files = CompletionFiles {
        paths: vec![case.write("rows.jsonl", chat())],
        tokenizer: tokenizer.clone(),
        ..Default::default()
    };
    let examples = files.read_all().unwrap();
    let set = examples.tokenize_all(&tokenizer, 100).unwrap();
    assert_eq!(set.sequences[0].ids.last(), Some(&13));
}
