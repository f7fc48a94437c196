//! Hostile templates and unusual conversations of language models: one clear error, or one note with a
//! count.

use test_support::World;

const TRAIN: &str = "train --task language-model --model tiny --steps 1 --out out --data";

const CHAT: &str = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, \
                    {\"role\": \"assistant\", \"content\": \"b\"}]}\n";

fn world() -> World {
    let world = World::new();
    world.write("pairs.jsonl", "{\"prompt\": \"a\", \"completion\": \" b\"}\n".repeat(20));
    world.write("chats.jsonl", CHAT.repeat(20));
    world
}

#[test]
fn deeply_nested_templates_are_refused() {
    let world = world();
    for operator in ["not ", "-", "("] {
        world.write("deep.jinja", format!("{{{{ {}nothing", operator.repeat(10_000)));
        let error = world.refuses(&format!("{TRAIN} chats.jsonl --chat-template deep.jinja"), &[]);
        assert!(error.error.contains("deep.jinja: syntax error"), "{}", error.error);
        world.refuses(
            &format!("{TRAIN} pairs.jsonl --prompt-template deep.jinja"),
            &["deep.jinja: syntax error", "line 1 of the template"],
        );
    }
}

#[cfg(unix)]
#[test]
fn pipes_are_not_templates() {
    let world = world();
    let pipe = world.path("pipe.jinja");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // The files of a world are compared, which would read the pipe.
    for kind in ["chat", "prompt"] {
        let data = world.path(if kind == "chat" { "chats.jsonl" } else { "pairs.jsonl" });
        let [data, tiny] = [data, world.path("tiny")].map(|path| path.display().to_string());
        let [out, pipe] = [world.path("out"), pipe.clone()].map(|path| path.display().to_string());
        let template = format!("--{kind}-template");
        let arguments = ["train", "--task", "language-model", "--steps", "1", "--model", &tiny];
        let paths = ["--data", &data, "--out", &out, &template, &pipe];
        let run = test_support::run_with_input("gpt2-lora", arguments.iter().chain(&paths), "");
        run.failed(&["pipe.jinja", "it is not a regular file"]);
    }
}

#[test]
fn message_of_a_template_is_one_line() {
    let world = world();
    world.write("raise.jinja", "{{ raise_exception('first\nsecond') }}");
    let command = format!("{TRAIN} chats.jsonl --chat-template raise.jinja");
    let error = world.refuses(&command, &["chats.jsonl, line 1", "first\\nsecond"]).error;
    assert_eq!(error.matches("first").count(), 1, "{error}");
}

#[test]
fn rows_of_another_schema_are_refused() {
    let world = world();
    let other = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
    world.write("mixed.jsonl", CHAT.repeat(4500) + other);
    world.refuses(
        &format!("{TRAIN} mixed.jsonl"),
        &["mixed.jsonl, line 4501: the row has other columns than the first one"],
    );
    let twice =
        "{\"messages\": [{\"role\": \"user\", \"role\": \"assistant\", \"content\": \"a\"}]}\n";
    world.write("twice.jsonl", CHAT.to_owned() + twice);
    world.refuses(&format!("{TRAIN} twice.jsonl"), &["twice.jsonl, line 2", "\"role\" twice"]);
}
