//! Language models on examples with prompts: results, resuming, dry runs, and refused inputs.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{
    Finished, World, assert_same_results, fixture, read_json, read_jsonl, run, run_and_signal,
};

/// Examples and output of runs, in a folder of their own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let animals = ["cat", "dog", "newt", "mole", "owl"];
        let row = |row: usize| {
            let animal = animals[row % animals.len()];
            let completion = format!(" {animal}s sleep{}", " well".repeat(row % 3));
            json!({ "prompt": format!("{row}. What do {animal}s do?"), "completion": completion })
        };
        place.write("data.jsonl", (0..40).map(|number| format!("{}\n", row(number))).collect());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: String) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The command line of a run on the tiny model.
    fn arguments(&self, out: &str, data: &str, options: &str) -> Vec<String> {
        let fixed = ["train", "--task", "language-model"].map(String::from).into_iter();
        let paths = [("--data", self.path(data)), ("--model", fixture("tiny"))];
        let paths = paths.into_iter().chain([("--out", self.path(out))]);
        let paths =
            paths.flat_map(|(option, path)| [option.to_owned(), path.display().to_string()]);
        let rest = "--threads 1 --device cpu --batch-size 4 --lr 0.01 --eval-every 5 \
                    --eval-batches 2";
        let rest = rest.split_whitespace().chain(options.split_whitespace()).map(String::from);
        fixed.chain(paths).chain(rest).collect()
    }

    fn train(&self, out: &str, options: &str) -> Finished {
        run("gpt2-lora", self.arguments(out, "data.jsonl", options))
    }

    fn events(&self, out: &str, kind: &str) -> Vec<Value> {
        let events = read_jsonl(&self.path(out).join("metrics.jsonl"));
        events.into_iter().filter(|event| event["event"] == kind).collect()
    }
}

#[test]
fn metrics_and_report_have_perplexities_and_samples() {
    let place = Place::new();
    let finished = place.train("out", "--steps 12 --sample-every 6 --tensorboard").succeeded();
    let stderr = finished.stderr();
    for words in [
        "schema: prompt/completion",
        "after 0 steps, validation set: completions: perplexity",
        "all tokens: perplexity",
        "generated text after \"",
    ] {
        assert!(stderr.contains(words), "{words:?} is not in {stderr}");
    }
    // Before training, after the steps 0, 5 and 10, and after training.
    let tokens = place.events("out", "tokens");
    let found: Vec<_> = tokens.iter().map(|it| (&it["steps"], &it["is_whole"])).collect();
    let expected = json!([[0, true], [1, false], [6, false], [11, false], [12, true]])
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(found.len(), 5);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!((found.0, found.1), (&expected[0], &expected[1]));
    }
    for event in &tokens {
        for kind in ["completions", "all"] {
            let [loss, perplexity] =
                ["loss", "perplexity"].map(|name| event[kind][name].as_f64().unwrap());
            assert!((loss.exp() / perplexity - 1.0).abs() < 1e-9, "{event}");
        }
        let [completions, all] =
            ["completions", "all"].map(|kind| event[kind]["tokens"].as_u64().unwrap());
        assert!(0 < completions && completions < all, "{event}");
    }
    let report = read_json(&place.path("out/report.json"));
    let model = &report["language_model"];
    let perplexity = |when: &str| model[when]["completions"]["perplexity"].as_f64().unwrap();
    assert!(perplexity("after") < perplexity("before"), "{report}");
    assert_eq!(model["validation_perplexity"], model["after"]["completions"]["perplexity"]);
    assert_eq!(report["arithmetic"], "kernels", "chosen by itself");
    assert!(finished.stdout().contains("all tokens"), "{}", finished.stdout());

    let samples = place.events("out", "sample");
    assert_eq!(samples.len(), 6, "after two steps, three prompts each");
    for sample in &samples {
        assert!(sample["prompt"].as_str().unwrap().ends_with("s do?"), "{sample}");
    }
    let board = fs::read_dir(place.path("out/tensorboard")).unwrap().next().unwrap().unwrap();
    let board = String::from_utf8_lossy(&fs::read(board.path()).unwrap()).into_owned();
    for tag in ["sample/3", "validation/completions_perplexity", "whole_validation/all_accuracy"] {
        assert!(board.contains(tag), "{tag} is not in TensorBoard's file");
    }
}

#[test]
fn prompts_of_samples_are_chosen() {
    let place = Place::new();
    let options =
        "--steps 2 --sample-every 2 --loss-on all --sample-prompt Cats --sample-prompt No";
    place.train("out", options).succeeded();
    let samples = place.events("out", "sample");
    let prompts: Vec<&Value> = samples.iter().map(|sample| &sample["prompt"]).collect();
    assert_eq!(prompts, ["Cats", "No"]);
    let tokens = place.events("out", "tokens");
    let eval = &place.events("out", "eval")[0];
    assert_eq!(eval["validation_loss"], tokens[1]["all"]["loss"], "the loss is over all tokens");
    let long = "word,".repeat(100);
    place
        .train("long", &format!("--steps 2 --sample-every 2 --sample-prompt {long}"))
        .failed(&["--sample-prompt", "96"]);
}

#[test]
fn prompts_of_samples_are_rendered_as_in_training() {
    let place = Place::new();
    let row = json!({ "messages": [
        { "role": "user", "content": "Cats?" },
        { "role": "assistant", "content": "Sleep." },
    ] });
    place.write("chat.jsonl", format!("{row}\n").repeat(20));
    let options = "--train all --steps 60 --sample-every 60 --sample-prompt Cats?";
    run("gpt2-lora", place.arguments("out", "chat.jsonl", options)).succeeded();
    let sample = &place.events("out", "sample")[0];
    assert_eq!(sample["prompt"], "### User:\nCats?\n\n### Assistant:\n");
    // The model has learned one answer by heart, and ends after it.
    assert_eq!(sample["text"], "Sleep.");
}

#[test]
fn seeds_have_a_mean_loss_and_perplexity() {
    let place = Place::new();
    let printed = place.train("out", "--steps 2 --seeds 3,5").succeeded().stdout();
    assert!(printed.lines().next().unwrap().ends_with("loss  perplexity"), "{printed}");
    let seeds = read_json(&place.path("out/seeds.json"));
    for name in ["validation_loss", "validation_perplexity"] {
        let of_run = |run: usize| seeds["runs"][run]["language_model"][name].as_f64().unwrap();
        let (first, second) = (of_run(0), of_run(1));
        let found = |statistic: &str| seeds["language_model"][statistic][name].as_f64().unwrap();
        assert!((found("mean") - (first + second) / 2.0).abs() < 1e-6 * first, "{seeds}");
        let deviation = (first - second).abs() / 2f64.sqrt();
        assert!((found("standard_deviation") - deviation).abs() < 1e-6 * first, "{seeds}");
        assert!(printed.contains(&format!("{:.2}", found("mean"))), "{printed}");
    }
}

/// SIGKILL, then SIGTERM, then to the end.
#[test]
fn interrupted_run_resumes_byte_for_byte() {
    let place = Place::new();
    let options = "--steps 60 --checkpoint-every 1 --sample-every 20 --lora-dropout 0.1 \
                   --gradient-accumulation-steps 2 --keep best";
    place.train("whole", options).succeeded();
    let metrics = place.path("stopped/metrics.jsonl");
    let seen = |steps: usize| {
        let text = fs::read_to_string(&metrics).unwrap_or_default();
        let checkpoints = fs::read_dir(place.path("stopped/checkpoints"));
        text.matches("\"event\":\"step\"").count() >= steps
            && checkpoints.is_ok_and(|mut all| all.next().is_some())
    };
    let arguments = |options: &str| place.arguments("stopped", "data.jsonl", options);
    let killed = run_and_signal("gpt2-lora", arguments(options), "KILL", || seen(5));
    assert_eq!(killed.output.status.code(), None, "it ended by itself");
    let resumed = format!("{options} --resume");
    run_and_signal("gpt2-lora", arguments(&resumed), "TERM", || seen(15))
        .failed(&["stopped after step", "--resume"]);
    run("gpt2-lora", arguments(&resumed)).succeeded();
    assert_same_results(&place.path("whole"), &place.path("stopped"));
}

#[test]
fn another_template_is_another_training() {
    let place = Place::new();
    place.write("template.jinja", "Say: {{ prompt }}".to_owned());
    let template = place.path("template.jinja").display().to_string();
    let options = format!("--steps 5000 --checkpoint-every 1 --prompt-template {template}");
    let checkpoints = place.path("out/checkpoints");
    // The first is whole as soon as there is a second.
    let begun = || checkpoints.read_dir().is_ok_and(|all| all.count() > 1);
    let arguments = place.arguments("out", "data.jsonl", &options);
    let killed = run_and_signal("gpt2-lora", arguments, "KILL", begun);
    assert_eq!(killed.output.status.code(), None, "it ended by itself");
    place.write("template.jinja", "Write: {{ prompt }}".to_owned());
    place.train("out", &format!("{options} --resume")).failed(&["another dataset"]);
}

#[test]
fn dry_run_has_the_lengths_of_the_examples() {
    let place = Place::new();
    let json = place.train("out", "--epochs 2 --dry-run --json").succeeded().stdout();
    let dry: Value = serde_json::from_str(&json).unwrap();
    let [train, validation] = [0, 1].map(|split| dry["data"]["splits"][split].clone());
    assert_eq!((&train["examples"], &validation["examples"]), (&json!(36), &json!(4)));
    assert!(train["lengths"]["max"].as_u64().unwrap() > 10, "{dry}");
    assert_eq!(dry["steps"], 18);
    assert!(!place.path("out").exists());
}

#[test]
fn base_weights_are_trained_on_examples() {
    let place = Place::new();
    for (out, options) in [("all", "--train all --dtype bfloat16"), ("last", "--train last-block")]
    {
        place.train(out, &format!("--steps 8 {options}")).succeeded();
        let steps = place.events(out, "step");
        let losses: Vec<f64> = steps.iter().map(|step| step["loss"].as_f64().unwrap()).collect();
        assert!(losses[7] < losses[0], "{out}: {losses:?}");
        assert!(place.path(out).join("model/gpt2_lora.json").exists());
    }
}

#[test]
fn truncated_and_dropped_examples_are_counted() {
    let place = Place::new();
    let stderr = place.train("out", "--steps 1 --max-length 10").succeeded().stderr();
    assert!(stderr.contains("examples were truncated to 10 tokens, the first is in"), "{stderr}");
    place.train("none", "--steps 1 --max-length 3").failed(&["training set", "3 tokens"]);
    let prompt = "word ".repeat(100);
    let rows = format!("{{\"prompt\": \"{prompt}\", \"completion\": \"x\"}}\n")
        + &fs::read_to_string(place.path("data.jsonl")).unwrap();
    place.write("long.jsonl", rows);
    let finished = run("gpt2-lora", place.arguments("long", "long.jsonl", "--steps 1")).succeeded();
    let stderr = finished.stderr();
    assert!(stderr.contains("1 training examples were dropped"), "{stderr}");
    assert!(stderr.contains("long.jsonl, line 1"), "{stderr}");
    let report = read_json(&place.path("long/report.json"));
    let dropped = &report["language_model"]["dropped"];
    assert_eq!(*dropped, json!({ "train": 1, "validation": 0, "test": 0 }));
    for key in ["counts", "duplicates"] {
        assert_eq!(report.get(key), None, "{key} is of labeled data");
    }
}

#[test]
fn json_lines_without_their_extension_are_noted() {
    let place = Place::new();
    let lines = fs::read_to_string(place.path("data.jsonl")).unwrap();
    place.write("data.dat", lines.replace('\n', "\n\n"));
    let options = "--steps 1 --max-length 8";
    let note = "data.dat: the lines are JSON objects and are learned as plain text; --format jsonl";
    for (out, more, is_noted) in [("plain", "", true), ("table", "--format jsonl", false)] {
        let arguments = place.arguments(out, "data.dat", &format!("{options} {more}"));
        let stderr = run("gpt2-lora", arguments).succeeded().stderr();
        assert_eq!(stderr.matches(note).count(), usize::from(is_noted), "{stderr}");
    }
}

#[test]
fn invalid_data_and_options_are_refused() {
    let world = World::new();
    world.write("qa.csv", "question,answer\na,b\nc,d\n");
    world.write("pairs.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n".repeat(9));
    world.write("empty.jsonl", "{\"prompt\": \"a\", \"completion\": \"\"}\n".repeat(9));
    world.write("roles.jsonl", "{\"messages\": [{\"content\": \"a\"}]}\n".repeat(9));
    world.write("broken.jinja", "{{ prompt");
    world.write("strict.jinja", "{{ promt }}");
    world.write("chat.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
    world.write("texts.jsonl", "{\"text\": \"a b\"}\n".repeat(9));
    world.write("packed.dat", [0x1f, 0x8b, 8, 0]);
    world.write("folder/pairs.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    let train = "train --task language-model --model model --out out --data";
    for (options, says) in [
        (
            "qa.csv",
            &["qa.csv", "unknown schema", "\"question\", \"answer\"", "--prompt-column"][..],
        ),
        (
            "qa.csv --prompt-column q --completion-column answer",
            &["no column \"q\"", "\"question\""],
        ),
        ("empty.jsonl", &["empty.jsonl", "9 of 9"]),
        ("roles.jsonl", &["roles.jsonl, line 1", "message 1 has no role"]),
        ("pairs.jsonl --prompt-template broken.jinja", &["broken.jinja", "syntax error"]),
        (
            "pairs.jsonl --prompt-template strict.jinja",
            &["strict.jinja", "pairs.jsonl, line 1", "undefined"],
        ),
        ("pairs.jsonl --prompt-template missing.jinja", &["missing.jinja"]),
        ("pairs.jsonl --batch-size 9", &["--batch-size 8"]),
        ("text.txt --prompt-template strict.jinja", &["--prompt-template", "has no effect"]),
        ("text.txt --loss-on completions", &["--loss-on", "has no effect"]),
        ("missing.jsonl", &["missing.jsonl"]),
        ("pairs.jsonl text.txt", &["pairs.jsonl is a table", "text.txt is plain text"]),
        ("- --max-length 8", &["-: not a file", "--format"]),
        ("folder", &["folder: not a file", "--format"]),
        ("packed.dat", &["packed.dat: expected plain text", "with gzip", "give --format jsonl"]),
        ("texts.jsonl --loss-on completions", &["--loss-on", "examples with a prompt"]),
        ("pairs.jsonl --chat-template chat.jinja", &["--chat-template", "with messages"]),
    ] {
        world.refuses(&format!("{train} {options}"), says);
    }
    world.refuses("train --data data.csv --model model --out out --loss-on all", &["--loss-on"]);
}
