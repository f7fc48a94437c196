//! Text generation and evaluation with language models.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use test_support::{Finished, fixture, read_json, read_jsonl, run, run_with_input};

/// An adapter of PEFT for the tiny model.
fn adapter() -> PathBuf {
    fixture("generation/adapter")
}

fn arguments(command: &str, adapter: &Path, options: &[&str]) -> Vec<String> {
    let (adapter, model) = (adapter.display().to_string(), fixture("tiny").display().to_string());
    let mut all = vec![command.to_owned(), "--adapter".to_owned(), adapter];
    all.extend(["--model".to_owned(), model, "--device=cpu".to_owned()]);
    all.extend(options.iter().map(|option| (*option).to_owned()));
    all
}

fn with_adapter(command: &str, options: &[&str]) -> Finished {
    run("gpt2-lora", arguments(command, &adapter(), options))
}

/// Parses lines of JSON.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Prompts with other fields, two of which cannot be continued.
fn prompts() -> Vec<Value> {
    vec![
        json!({"id": 1, "prompt": "Every effort moves you"}),
        json!({"id": 2, "prompt": ""}),
        json!({"id": 3, "prompt": "The sea", "more": [1, {"a": null}]}),
        json!({"id": 4, "prompt": "word ".repeat(200)}),
        json!({"id": 5, "prompt": "a"}),
    ]
}

fn json_lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

#[test]
fn tables_of_prompts_are_continued_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("prompts.jsonl");
    fs::write(&input, json_lines(&prompts())).unwrap();
    let input = input.display().to_string();
    let mut outputs = Vec::new();
    // Random texts depend on the seed and the row, and not on the batch.
    for (name, options) in [
        ("one.jsonl", ["--batch-size=1", "--seed=3"]),
        ("all.jsonl", ["--batch-size=8", "--seed=3"]),
        ("other.jsonl", ["--batch-size=8", "--seed=4"]),
    ] {
        let output = folder.path().join(name);
        let mut all = vec!["--input", &input, "--temperature=0.9", "--top-p=0.95"];
        all.extend(["--max-new-tokens=6", "--stop=zzzz"].iter().chain(&options));
        let shown = output.display().to_string();
        all.extend(["--output", &shown]);
        let finished = with_adapter("generate", &all).succeeded();
        let note = finished.stderr();
        assert!(
            note.contains("note: 2 of 5 prompts could not be continued: ")
                && note.contains("prompts.jsonl, line 2: the prompt is empty"),
            "{note}"
        );
        assert!(finished.stdout().is_empty());
        outputs.push(read_jsonl(&output));
    }
    assert_eq!(outputs[0], outputs[1]);
    assert_ne!(outputs[0], outputs[2]);
    for (row, prompt) in outputs[0].iter().zip(prompts()) {
        for (field, value) in prompt.as_object().unwrap() {
            assert_eq!(&row[field], value);
        }
        let [completion, finish, count, error] =
            ["completion", "finish_reason", "new_tokens", "error"].map(|name| &row[name]);
        match row["id"].as_u64() {
            Some(2) => assert!(error.as_str().unwrap().ends_with("line 2: the prompt is empty")),
            Some(4) => {
                let error = error.as_str().unwrap();
                assert!(error.contains("line 4: ") && error.contains("context of 96"), "{row}");
            }
            _ => {
                assert!(!completion.as_str().unwrap().is_empty(), "{row}");
                assert_eq!((finish, count, error), (&json!("length"), &json!(6), &Value::Null));
                continue;
            }
        }
        assert!(completion.is_null() && finish.is_null() && count.is_null(), "{row}");
    }
}

#[test]
fn rows_without_a_prompt_are_errors_of_their_own() {
    let chat = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let answered = json!({"messages": [{"role": "assistant", "content": "b"}]});
    for (rows, says) in [
        ([json!({"prompt": "a"}), json!({"prompt": 3}), json!({"prompt": "b"})], "is 3"),
        ([json!({"prompt": "a"}), json!({"prompt": "a\0"}), json!({"prompt": "b"})], "NUL byte"),
        ([chat(json!("a")), chat(json!(null)), chat(json!("b"))], "message 1 is null"),
        ([chat(json!("a")), answered, chat(json!("b"))], "nothing to answer"),
        ([chat(json!("a")), json!({"messages": "a"}), chat(json!("b"))], "list of messages"),
    ] {
        let all = arguments("generate", &adapter(), &["--input=-", "--max-new-tokens=2"]);
        let finished = run_with_input("gpt2-lora", all, json_lines(&rows)).succeeded();
        let note = finished.stderr();
        let count = "1 of 3 prompts could not be continued: standard input, line 2";
        assert!(note.contains(count) && note.contains(says), "{note}");
        let found = lines(&finished.stdout());
        let has_error: Vec<bool> = found.iter().map(|row| !row["error"].is_null()).collect();
        assert_eq!(has_error, [false, true, false], "{found:?}");
        assert!(
            found[1]["error"].as_str().unwrap().contains(says) && found[1]["completion"].is_null()
        );
        assert!(found[2]["completion"].is_string(), "{found:?}");
    }
}

#[test]
fn standard_input_and_output_are_tables() {
    let rows = [json!({"question": "The sea", "prompt": 3}), json!({"question": "a", "prompt": 4})];
    let options = ["--input=-", "--output=-", "--prompt-column=question", "--max-new-tokens=3"];
    let all = arguments("generate", &adapter(), &options);
    let found = lines(&run_with_input("gpt2-lora", all, json_lines(&rows)).succeeded().stdout());
    assert_eq!(found.len(), 2);
    assert_eq!((&found[0]["prompt"], &found[1]["prompt"]), (&json!(3), &json!(4)));
    // The same texts as on the command line.
    let options = ["--prompt=The sea", "--prompt=a", "--max-new-tokens=3", "--json"];
    let printed = lines(&with_adapter("generate", &options).succeeded().stdout());
    for (found, printed) in found.iter().zip(printed) {
        assert_eq!(found["completion"], printed["completion"]);
        assert_eq!(
            (&printed["finish_reason"], &printed["new_tokens"]),
            (&json!("length"), &json!(3))
        );
    }
    let options = ["--prompt=The sea", "--prompt=a", "--max-new-tokens=3"];
    let text = with_adapter("generate", &options).succeeded().stdout();
    let expected: Vec<String> = found
        .iter()
        .map(|row| {
            format!("{}{}", row["question"].as_str().unwrap(), row["completion"].as_str().unwrap())
        })
        .collect();
    assert_eq!(text, format!("{}\n\n{}\n", expected[0], expected[1]));
}

#[test]
fn prompts_that_cannot_be_continued_are_counted() {
    let long = format!("--prompt={}", "word ".repeat(200));
    let options = ["--prompt=a", &long, "--max-new-tokens=2"];
    let finished = with_adapter("generate", &options).failed(&["1 of 2 prompts could not"]);
    let note = finished.stderr();
    assert!(note.contains("prompt 2 was skipped") && note.contains("context of 96"), "{note}");
    assert!(finished.stdout().starts_with('a'), "{}", finished.stdout());
    let found = with_adapter("generate", &["--prompt=a", &long, "--max-new-tokens=2", "--json"]);
    let found = lines(&found.failed(&["1 of 2 prompts"]).stdout());
    assert!(found[1]["error"].as_str().unwrap().contains("context of 96"), "{found:?}");
    // A table without a usable prompt.
    let all = arguments("generate", &adapter(), &["--input=-", "--input-format=jsonl"]);
    run_with_input("gpt2-lora", all, "{\"prompt\": \"\"}\n").failed(&[
        "1 of 1 prompts could not be continued",
        "standard input, line 1: the prompt is empty",
    ]);
    let rows = format!("{{\"prompt\": \"a\"}}\n{{\"prompt\": \"{}\"}}\n", "word ".repeat(200));
    let all = arguments("generate", &adapter(), &["--input=-", "--max-new-tokens=2"]);
    let finished = run_with_input("gpt2-lora", all, &rows).succeeded();
    let note = "1 of 2 prompts could not be continued: standard input, line 2: ";
    assert!(finished.stderr().contains(note), "{}", finished.stderr());
}

#[test]
fn prompts_may_begin_with_a_hyphen() {
    let options = ["--prompt", "- a list", "--stop", "---", "--max-new-tokens=2"];
    let finished = with_adapter("generate", &options).succeeded();
    assert!(finished.stdout().starts_with("- a list"), "{}", finished.stdout());
}

#[test]
fn merged_language_models_generate_alike() {
    let folder = tempfile::tempdir().unwrap();
    let merged = folder.path().join("merged");
    with_adapter("merge", &["--out", &merged.display().to_string()]).succeeded();
    let config = read_json(&merged.join("config.json"));
    assert_eq!(config["architectures"], json!(["GPT2LMHeadModel"]));
    assert_eq!(read_json(&merged.join("generation_config.json"))["eos_token_id"], 50_256);
    let options = ["--prompt=The sea", "--max-new-tokens=5", "--repetition-penalty=1.2"];
    let expected = with_adapter("generate", &options).succeeded().stdout();
    for option in ["--adapter", "--model"] {
        let merged = merged.display().to_string();
        let all = ["generate", option, &merged].into_iter().chain(options);
        assert_eq!(run("gpt2-lora", all).succeeded().stdout(), expected, "{option}");
    }
}

#[test]
fn language_models_are_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    // What the model generates is an exact match.
    let options = ["--prompt=The sea", "--max-new-tokens=4", "--json"];
    let generated = lines(&with_adapter("generate", &options).succeeded().stdout());
    let completion = generated[0]["completion"].as_str().unwrap();
    let rows = [
        json!({"prompt": "The sea", "completion": completion}),
        json!({"prompt": "The sea", "completion": "something else"}),
        json!({"prompt": "word ".repeat(200), "completion": "x"}),
        json!({"prompt": "a", "completion": "word ".repeat(200)}),
        json!({"prompt": "See you", "completion": ""}),
    ];
    fs::write(&data, json_lines(&rows)).unwrap();
    let data = data.display().to_string();
    let options = ["--data", &data, "--max-new-tokens=4", "--json"];
    let found = with_adapter("evaluate", &options).succeeded().stdout();
    let found: Value = serde_json::from_str(&found).unwrap();
    for (field, expected) in [("examples", 3), ("skipped", 2), ("truncated", 1), ("answers", 3)] {
        assert_eq!(found[field], expected, "{field}: {found}");
    }
    assert!((found["exact_match"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-9, "{found}");
    let [loss, perplexity] = ["loss", "perplexity"].map(|name| found[name].as_f64().unwrap());
    assert!((loss.exp() / perplexity - 1.0).abs() < 1e-9 && loss > 1.0, "{found}");

    // A pattern that matches nothing finds no answer.
    let options = ["--data", &data, "--max-new-tokens=4", "--match=^$x"];
    let text = with_adapter("evaluate", &options).succeeded().stdout();
    for words in ["perplexity", "exact match     0.00% of 3 answers", "2 examples were skipped"] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn adapters_of_another_task_are_refused() {
    let classifier = fixture("runs/fused");
    let options = ["--prompt=a"];
    run("gpt2-lora", arguments("generate", &classifier, &options))
        .failed(&["expected a language model, got a classifier", "predict --adapter"]);
    with_adapter("predict", &["a"]).failed(&["expected a classifier", "generate --adapter"]);
    for (option, command) in [("--label-column=x", "evaluate"), ("--labels=a,b", "evaluate")] {
        let name = option.split('=').next().unwrap();
        with_adapter(command, &["--data=data.jsonl", option]).failed(&[
            "is a language model",
            name,
            "leave it out",
        ]);
    }
    run("gpt2-lora", arguments("evaluate", &classifier, &["--data=data.tsv", "--match=x"]))
        .failed(&["is a classifier", "--match", "leave it out"]);
}

#[test]
fn invalid_settings_are_refused() {
    for (option, says) in [
        ("--top-p=0", "--top-p"),
        ("--top-p=1.5", "got 1.5"),
        ("--min-p=-0.1", "--min-p"),
        ("--repetition-penalty=0", "--repetition-penalty"),
    ] {
        with_adapter("generate", &["--prompt=a", option]).failed(&["expected", says]);
    }
    for size in ["0", "3000000000000000000"] {
        let batch_size = format!("--batch-size={size}");
        let got = format!("got {size}");
        with_adapter("generate", &["--input=missing.jsonl", &batch_size]).failed(&[
            "--batch-size",
            "1000000000",
            &got,
        ]);
    }
    with_adapter("generate", &["--prompt=a", "--stop="]).failed(&["--stop"]);
    with_adapter("generate", &[]).failed(&["required"]);
    for option in
        ["--input=x", "--output=x", "--format=csv", "--prompt-column=x", "--input-format=csv"]
    {
        let name = option.split('=').next().unwrap_or_default();
        with_adapter("generate", &["--prompt=a", option]).failed(&["cannot be used with", name]);
    }
    let all = arguments("generate", &adapter(), &["--input=-"]);
    run_with_input("gpt2-lora", all, "{\"text\": \"a\"}\n")
        .failed(&["no column \"prompt\"", "--prompt-column"]);
    let folder = tempfile::tempdir().unwrap();
    let without_extension = format!("--output={}", folder.path().join("table").display());
    let all = arguments("generate", &adapter(), &["--input=-", &without_extension]);
    run_with_input("gpt2-lora", all, "{\"prompt\": \"a\"}\n")
        .failed(&["table: unknown file extension", "--format"]);
    with_adapter("evaluate", &["--data=x", "--match=("]).failed(&["--match", "unclosed group"]);
}
