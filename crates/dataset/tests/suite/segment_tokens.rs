//! Tokens of prompts, completions and turns, which are encoded one by one.

use std::fs;

use dataset::{
    CompletionFiles, PromptEncoder, PromptFormat, Schema, Sequence, TableOptions, TableReader,
    Tokenizer,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::model_tokenizers::{change, copy, of};

/// Chat template whose turns are divided by spaces and line breaks only.
const PLAIN: &str = "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}\
                     {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

/// Tokenizers of all kinds.
fn tokenizers() -> Vec<(&'static str, Tokenizer)> {
    let kinds = ["byte_level", "word_piece", "unigram", "byte_fallback"];
    let own = kinds.into_iter().map(|kind| (kind, of(&copy(kind))));
    own.chain([("gpt2", Tokenizer::gpt2())]).collect()
}

/// Tokenizer of a kind with another first step.
fn changed(kind: &str, entries: &Value) -> Tokenizer {
    let folder = copy(kind);
    change(folder.path(), "tokenizer.json", |json| {
        json.as_object_mut().unwrap().extend(entries.as_object().unwrap().clone());
    });
    of(&folder)
}

/// An example as tokens, the prompt of its last answer, and the format of the training.
fn trained(
    tokenizer: &Tokenizer,
    row: &Value,
    chat: Option<&str>,
) -> (Sequence, Vec<u32>, PromptFormat) {
    let folder = tempfile::tempdir().unwrap();
    let chat_template = chat.map(|source| {
        let path = folder.path().join("chat.jinja");
        fs::write(&path, source).unwrap();
        path
    });
    let paths = vec![write(&folder, row)];
    let tokenizer = tokenizer.clone();
    let files = CompletionFiles { paths, chat_template, tokenizer, ..CompletionFiles::default() };
    let examples = files.read_all().unwrap();
    let set = examples.tokenize_all(&files.tokenizer, 1000).unwrap();
    let prompt = examples.answer(0, &files.tokenizer, 1000).unwrap().prompt.ids;
    (set.sequences[0].clone(), prompt, examples.format().clone())
}

fn write(folder: &TempDir, row: &Value) -> std::path::PathBuf {
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, format!("{row}\n")).unwrap();
    path
}

/// Tokens of the prompt of a row for a model that was trained in this format.
fn prompt(tokenizer: &Tokenizer, row: &Value, format: &PromptFormat) -> Vec<u32> {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, row);
    let mut table = TableReader::open_records(&[path], &TableOptions::default()).unwrap();
    let encoder = PromptEncoder::new(Some(format), tokenizer).unwrap();
    let chunk = table.next_chunk(100).unwrap().unwrap();
    encoder.of_table(None).encode(&chunk).unwrap().remove(0).unwrap().ids
}

/// Tokens before the last answer.
fn before_last_answer(sequence: &Sequence) -> &[u32] {
    let last = sequence.is_learned.iter().rposition(|is_learned| *is_learned).unwrap();
    let before = sequence.is_learned[..last].iter().rposition(|is_learned| !is_learned).unwrap();
    &sequence.ids[..=before]
}

#[test]
fn prompts_of_conversations_have_the_tokens_of_training() {
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let messages = [
        message("user", "Hi 東京"),
        message("assistant", "\nHello Мы"),
        message("user", "By the way, 不知道"),
        message("assistant", "Fine"),
    ];
    for (kind, tokenizer) in tokenizers() {
        for chat in [Some(PLAIN), None] {
            let row = json!({ "messages": messages });
            let (sequence, answered, format) = trained(&tokenizer, &row, chat);
            assert_eq!(format.schema, Schema::Messages);
            let generated =
                |count| prompt(&tokenizer, &json!({ "messages": messages[..count] }), &format);
            assert_eq!(generated(1), sequence.prompt(), "{kind}: {chat:?}");
            assert_eq!(generated(3), before_last_answer(&sequence), "{kind}: {chat:?}");
            assert_eq!(generated(3), answered, "{kind}: {chat:?}");

            // Answers in a prompt are not learned, and divide nothing.
            let row = json!({ "prompt": messages[..3], "completion": messages[3..] });
            let (sequence, answered, format) = trained(&tokenizer, &row, chat);
            let generated = prompt(&tokenizer, &row, &format);
            assert_eq!(generated, sequence.prompt(), "{kind}: {chat:?}");
            assert_eq!(generated, answered, "{kind}: {chat:?}");
        }
    }
}

#[test]
fn earlier_turns_that_a_template_changes_are_one_prompt() {
    let chat = "{% for m in messages %}{{ (m.content if loop.last else '...') + '|' }}{% endfor %}";
    let chat_template = Some(chat.to_owned());
    let format = PromptFormat { schema: Schema::Messages, template: None, chat_template };
    let message = |role: &str| json!({ "role": role, "content": role });
    let row = json!({ "messages": [message("user"), message("assistant"), message("user")] });
    let gpt2 = Tokenizer::gpt2();
    assert_eq!(prompt(&gpt2, &row, &format), gpt2.encode("...|...|user|"));
}

#[test]
fn completions_begin_a_word_only_after_white_space() {
    let metaspace = |scheme: &str| {
        json!({
            "pre_tokenizer": {
                "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true,
            },
        })
    };
    let prepended = json!({
        "pre_tokenizer": null,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                { "type": "Prepend", "prepend": "▁" },
                { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
            ],
        },
    });
    let prefixed = json!({
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        },
    });
    let tokenizers = [
        ("unigram", of(&copy("unigram"))),
        ("unigram without white space", changed("unigram", &metaspace("always"))),
        ("byte_fallback", of(&copy("byte_fallback"))),
        ("byte_fallback, always", changed("byte_fallback", &metaspace("always"))),
        ("byte_fallback, prepended", changed("byte_fallback", &prepended)),
        ("byte_level", of(&copy("byte_level"))),
        ("byte_level, prefixed", changed("byte_level", &prefixed)),
    ];
    for (kind, tokenizer) in tokenizers {
        for (prompt, completion, text) in [
            ("駅で", "待ち", "駅で待ち"),
            ("駅で", " 待ち", "駅で 待ち"),
            ("駅で ", "待ち", "駅で 待ち"),
            ("駅で", "待ち 店", "駅で待ち 店"),
        ] {
            let row = json!({ "prompt": prompt, "completion": completion });
            let (sequence, ..) = trained(&tokenizer, &row, None);
            assert_eq!(sequence.prompt(), tokenizer.encode(prompt), "{kind}: {row}");
            let end = sequence.ids.len() - 1;
            assert_eq!(sequence.ids[end], tokenizer.end_of_text());
            assert_eq!(tokenizer.decode(&sequence.ids[..end]).trim(), text, "{kind}: {row}");
        }
    }
}
