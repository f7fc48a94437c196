//! Examples and prompts for language models: malformed rows, values of wrong types, and conversations
//! that no template can render.

use std::{fs, fs::File, io::Write};

use serde_json::json;
use test_support::{World, counted, fixture};

const TRAIN: &str = "train --task language-model --model tiny --steps 1 --out begun --data";
const EVALUATE: &str = "evaluate --adapter spoken --model tiny --max-new-tokens 1 --data";
const GENERATE: &str =
    "generate --adapter spoken --model tiny --max-new-tokens 1 --output answers.csv --input";

/// A world with an adapter of a language model for `tiny` (`spoken`).
fn world() -> World {
    let world = World::new();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let file = fixture("generation/adapter").join(name);
        world.write(&format!("spoken/{name}"), fs::read(file).unwrap());
    }
    world
}

/// Asserts that commands refuse a file, and returns their number.
#[track_caller]
fn refuse(world: &World, commands: &[&str], file: &str, says: &[&str]) -> usize {
    for command in commands {
        println!("{}", world.refuses(&format!("{command} {file}"), says).error);
    }
    commands.len()
}

const GOOD: &str = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";

#[test]
#[ignore = "run by cargo xtask soak"]
fn malformed_examples_are_named_with_their_line() {
    let world = world();
    let all = [TRAIN, EVALUATE, GENERATE];
    let learning = &all[..2];
    let mut count = 0;
    for (row, commands, says) in [
        (&b"{\"prompt\": \"caf\xe9\", \"completion\": \"b\"}"[..], &all[..], "0xe9 is not UTF-8"),
        (b"\xff\xfe{\x00", &all, "UTF-8"),
        (b"{\"prompt\": \"a\\ud800\", \"completion\": \"b\"}", &all, ""),
        (b"{\"prompt\": \"a\", \"completion\": \"b\"", &all, ""),
        (b"{\"prompt\": \"a\", \"completion\": \"b\"} x", &all, ""),
        (b"[\"a\", \"b\"]", &all, ""),
        (b"null", &all, ""),
        (b"{\"prompt\": 3, \"completion\": \"b\"}", learning, "3"),
        (b"{\"prompt\": {\"a\": 1}, \"completion\": \"b\"}", learning, ""),
        (b"{\"prompt\": \"a\", \"completion\": 3.5}", learning, "3.5"),
        (b"{\"prompt\": \"a\", \"completion\": true}", learning, ""),
        (b"{\"prompt\": \"a\", \"completion\": [\"b\"]}", learning, ""),
        (b"{\"prompt\": \"a\\u0000\", \"completion\": \"b\"}", &all[..1], "NUL byte"),
        (b"{\"completion\": \"b\"}", &all[..1], "no column \"prompt\""),
    ] {
        let mut bytes = GOOD.repeat(30).into_bytes();
        bytes.extend(row);
        bytes.extend(format!("\n{GOOD}").bytes());
        world.write("bad.jsonl", bytes);
        count += refuse(&world, commands, "bad.jsonl", &["bad.jsonl, line 31", says]);
    }
    counted(count, "commands that refused a malformed example");
    assert_eq!(count, 7 * 3 + 5 * 2 + 2);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn unusable_files_of_examples_are_named() {
    let world = world();
    let all = [TRAIN, EVALUATE, GENERATE];
    let mut count = 0;
    for (file, content, commands, says) in [
        ("bad.jsonl", "", &all[..2], "there is no row in it"),
        ("bad.jsonl", "\n\n \n", &all[..2], "there is no row in it"),
        ("bad.jsonl", "{\"prompt\": \"a\"}\n", &all[..2], "completion"),
        ("bad.jsonl", "{\"question\": \"a\", \"answer\": \"b\"}\n", &all, ""),
        ("bad.jsonl", "{\"instruction\": \"a\"}\n", &all[..2], ""),
        ("bad.csv", "", &all[..1], "is empty"),
        ("bad.csv", "prompt,completion\n", &all[..1], ""),
        ("bad.csv", "prompt,completion\na,b\n\"a,b\n", &all[..1], "line 3"),
        ("bad.csv", "prompt,completion\na,b\na,b,c\n", &all[..1], "line 3"),
        ("bad.csv", "prompt,prompt,completion\na,b,c\n", &all, "\"prompt\" twice"),
        ("bad.csv", "messages\nnot a list\n", &all[..1], "line 2"),
        ("bad.parquet", "PAR1", &all[..1], "cannot be read as Parquet"),
        ("missing.jsonl", "", &all, ""),
    ] {
        if file != "missing.jsonl" {
            world.write(file, content);
        }
        count += refuse(&world, commands, file, &[file, says]);
    }
    let one = GOOD.to_owned();
    world.write("bad.jsonl", one);
    count += refuse(&world, &all[..1], "bad.jsonl", &["bad.jsonl", "too few examples"]);
    world.write("bad.jsonl", GOOD.replace("\"b\"", "null").repeat(9));
    count += refuse(&world, &all[..1], "bad.jsonl", &["bad.jsonl", "9 of 9", "empty"]);
    counted(count, "commands that refused an unusable file of examples");
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn examples_of_50_mb_are_refused() {
    let world = world();
    let mut file = File::create(world.path("bad.jsonl")).unwrap();
    file.write_all(GOOD.as_bytes()).unwrap();
    file.write_all(b"{\"completion\": \"b\", \"prompt\": \"").unwrap();
    file.write_all(&vec![b'a'; 50 << 20]).unwrap();
    file.write_all(b"\"}\n").unwrap();
    let says = ["bad.jsonl, line 2: it is longer than 16 MiB"];
    let count = refuse(&world, &[TRAIN, EVALUATE, GENERATE], "bad.jsonl", &says);
    counted(count, "commands that refused a huge example");
}

/// Conversations whose messages are not messages.
#[test]
#[ignore = "run by cargo xtask soak"]
fn malformed_conversations_are_named_with_their_line() {
    let world = world();
    let asked = json!({"role": "user", "content": "a"});
    let good = json!({"messages": [asked, {"role": "assistant", "content": "b"}]});
    let mut count = 0;
    for (messages, says) in [
        (json!("a"), "not a list of messages"),
        (json!(null), "null"),
        (json!(3), "3; it must be a list of messages"),
        (json!({"role": "user", "content": "a"}), "must be a list of messages"),
        (json!([asked, "b"]), "message 2 is \"b\""),
        (json!([asked, null]), "message 2 is null"),
        (json!([{"content": "a"}]), "message 1 has no role"),
        (json!([{"role": "user"}]), "message 1 has no content"),
        (json!([{"from": "human", "value": "a"}]), "message 1 has no role"),
        (json!([{"role": 1, "content": "a"}]), "the role of message 1 is 1"),
        (json!([{"role": "user", "content": null}]), "the content of message 1 is null"),
        (json!([{"role": "user", "content": ["a"]}]), "the content of message 1 is [\"a\"]"),
        (json!([{"role": "user", "content": "a\0b"}]), "NUL byte"),
    ] {
        let bad = json!({ "messages": messages });
        world.write("bad.jsonl", format!("{}{bad}\n", format!("{good}\n").repeat(30)));
        count += refuse(&world, &[TRAIN], "bad.jsonl", &["bad.jsonl, line 31", says]);
    }
    // No message that could be learned.
    for role in ["user", "Assistant", "gpt", "\u{1b}[31m"] {
        let bad = json!({"messages": [asked, {"role": role, "content": "b"}]});
        world.write("bad.jsonl", format!("{bad}\n").repeat(9));
        count += refuse(&world, &[TRAIN], "bad.jsonl", &["bad.jsonl", "9 of 9", "role assistant"]);
    }
    // A template that knows its roles.
    let narrated = json!({"role": "narrator", "content": "x"});
    let bad = json!({"messages": [asked, narrated, {"role": "assistant", "content": "b"}]});
    world.write("bad.jsonl", format!("{}{bad}\n", format!("{good}\n").repeat(30)));
    let template = "{% for message in messages %}\
                    {% if message.role not in ['user', 'assistant'] %}\
                    {{ raise_exception('unknown role ' + message.role) }}{% endif %}\
                    {{ message.role + ': ' + message.content + '\\n' }}{% endfor %}\
                    {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
    world.write("chat.jinja", template);
    let command = format!("{TRAIN} bad.jsonl --chat-template chat.jinja");
    let says = ["chat.jinja", "bad.jsonl, line 31", "unknown role narrator"];
    println!("{}", world.refuses(&command, &says).error);
    counted(count + 1, "commands that refused a malformed conversation");
}
