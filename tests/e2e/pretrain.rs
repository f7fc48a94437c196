//! Language modeling: results, resuming, and refused inputs.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{
    Finished, assert_same_results, binary, fixture, read_json, read_jsonl, results, run,
    run_and_signal,
};

/// Text, configuration and output of runs, in a folder of their own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write_text(text(""));
        place.write_config(json!({}));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write_text(&self, text: impl AsRef<[u8]>) {
        fs::write(self.path("text.txt"), text).unwrap();
    }

    /// A tiny model with some settings changed.
    fn write_config(&self, changes: Value) {
        let mut config = json!({
            "vocab_size": 50257, "n_positions": 32, "n_embd": 8, "n_layer": 1, "n_head": 2
        });
        for (name, value) in changes.as_object().unwrap() {
            config[name] = value.clone();
        }
        fs::create_dir_all(self.path("shape")).unwrap();
        fs::write(self.path("shape/config.json"), config.to_string()).unwrap();
    }

    /// The command line of a run of twelve steps.
    fn arguments(&self, out: &str, options: &str) -> Vec<String> {
        let mut all = vec!["pretrain".to_owned()];
        for (option, name) in [("--data", "text.txt"), ("--model", "shape"), ("--out", out)] {
            if !options.split_whitespace().any(|given| given == option) {
                all.extend([option.to_owned(), self.path(name).display().to_string()]);
            }
        }
        // Evaluation over the whole vocabulary takes longer than the steps.
        let common = "--threads=1 --device=cpu --batch-size=4 --validation-fraction=0.1 \
                      --warmup-steps=2 --lr=0.01 --eval-every=10 --eval-batches=1 --steps=12";
        let is_changed = |given: &&str| {
            let name = given.split('=').next().unwrap();
            options.split_whitespace().any(|option| option == name)
        };
        let common = common.split_whitespace().filter(|given| !is_changed(given));
        all.extend(common.chain(options.split_whitespace()).map(String::from));
        all
    }

    fn pretrain(&self, out: &str, options: &str) -> Finished {
        run("gpt2-lora", self.arguments(out, options))
    }

    /// Starts a run and kills it when its first checkpoint is there.
    fn killed(&self, out: &str, options: &str) {
        let run = run_and_signal("gpt2-lora", self.arguments(out, options), "KILL", || {
            self.last_checkpoint(out).is_some()
        });
        assert_eq!(run.output.status.code(), None, "it ended by itself");
    }

    fn last_checkpoint(&self, out: &str) -> Option<PathBuf> {
        let entries = fs::read_dir(self.path(out).join("checkpoints")).ok()?;
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).max()
    }
}

/// Forty short documents with a predictable order of words.
fn text(begin: &str) -> String {
    let words = ["red", "green", "blue", "black", "white", "brown", "gray"];
    let document = |number: usize| {
        let word = |place: usize| words[(number + place * place) % words.len()];
        let sentence: Vec<&str> = (0..20).map(word).collect();
        format!("{begin}The colors are {}.", sentence.join(" and "))
    };
    (0..40).map(document).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn pretraining_writes_model_metrics_and_report() {
    let place = Place::new();
    let options = "--sample-every 6 --eval-every 20 --steps 60 --json";
    let finished = place.pretrain("out", options).succeeded();
    let out = place.path("out");
    let names: Vec<String> = results(&out).into_keys().collect();
    assert_eq!(
        names,
        [
            "accuracy.png",
            "accuracy.svg",
            "loss.png",
            "loss.svg",
            "metrics.jsonl",
            "model/config.json",
            "model/generation_config.json",
            "model/gpt2_lora.json",
            "model/merges.txt",
            "model/model.safetensors",
            "model/tokenizer.json",
            "model/tokenizer_config.json",
            "model/vocab.json",
            "report.json",
            "run.toml",
        ]
    );

    let report = read_json(&out.join("report.json"));
    assert_eq!(serde_json::from_str::<Value>(&finished.stdout()).unwrap(), report);
    let measures = &report["language_model"];
    let number = |name: &str| measures[name].as_f64().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(report["examples"], json!({ "train": 36, "validation": 4, "test": 0 }));
    assert_eq!((report["steps"].as_f64(), number("tokens_seen")), (Some(60.0), 60.0 * 4.0 * 32.0));
    // 50257 and 32 embeddings of 8, a block, the last norm.
    let block = 2 * 8 + 8 * 24 + 24 + 8 * 8 + 8 + 2 * 8 + 8 * 32 + 32 + 32 * 8 + 8;
    let parameters = json!(50257 * 8 + 32 * 8 + block + 2 * 8);
    assert_eq!(report["total_parameters"], parameters);
    assert_eq!(report["trainable_parameters"], parameters);
    assert!(number("validation_perplexity") < 1000.0, "{report}");

    let metrics = read_jsonl(&out.join("metrics.jsonl"));
    let of = |kind: &str| -> Vec<&Value> {
        metrics.iter().filter(|event| event["event"] == kind).collect()
    };
    let losses: Vec<f64> = of("step").iter().map(|event| event["loss"].as_f64().unwrap()).collect();
    assert_eq!((losses.len(), of("eval").len(), of("sample").len()), (60, 3, 10));
    // At first all tokens are about as likely.
    assert!((losses[0] - 50257f64.ln()).abs() < 0.1, "{}", losses[0]);
    assert!(losses[59] < losses[0] - 3.0, "{losses:?}");
    for event in of("step") {
        assert!(event["learning_rate"].as_f64().unwrap() > 0.0, "{event}");
        assert!(event["gradient_norm"].as_f64().unwrap() > 0.0, "{event}");
    }
    let last = metrics.last().unwrap();
    assert_eq!((&last["event"], &last["test_accuracy"]), (&json!("final"), &Value::Null));
    assert_eq!(last["validation_accuracy"], report["accuracy"]["validation"]);

    let model = out.join("model").display().to_string();
    let prompt = ["generate", "--model", &model, "--prompt", "The colors", "--max-new-tokens", "4"];
    let generated = run("gpt2-lora", prompt).succeeded().stdout();
    assert!(generated.starts_with("The colors") && generated.len() > 12, "{generated}");
    let json = run("gpt2-lora", ["inspect", &model, "--json"]).succeeded().stdout();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["total_parameters"], parameters);

    let on = format!("--random-init=false --model {model} --steps 2");
    let table = place.pretrain("on", &on).succeeded().stdout();
    for word in ["validation perplexity", "256 tokens seen", "trainable"] {
        assert!(table.contains(word), "{word} is not in {table}");
    }
    let metrics = read_jsonl(&place.path("on/metrics.jsonl"));
    let first = metrics.iter().find(|event| event["event"] == "step").unwrap();
    assert!(first["loss"].as_f64().unwrap() < losses[0] - 3.0, "not begun with the model: {first}");
}

/// Language modeling with adapters, and with the other sets of trainable parameters.
#[test]
fn language_model_trains_any_parameters() {
    let place = Place::new();
    let (text, model) = (place.path("text.txt"), fixture("tiny"));
    let train = |out: &str, options: &str| {
        let fixed = ["train", "--task", "language-model", "--validation-fraction", "0.1"];
        let fixed = fixed.map(String::from).into_iter();
        let paths = [("--data", &text), ("--model", &model), ("--out", &place.path(out))];
        let paths = paths.map(|(option, path)| [option.to_owned(), path.display().to_string()]);
        let rest = "--threads 1 --batch-size 2 --max-length 24 --steps 8 --lr 0.01 --eval-every 4 \
                    --eval-batches 1";
        let rest = rest.split_whitespace().chain(options.split_whitespace()).map(String::from);
        run("gpt2-lora", fixed.chain(paths.into_iter().flatten()).chain(rest))
    };
    for (name, options) in [
        ("lora", "--rank 2 --lora-dropout 0.1 --gradient-accumulation-steps 2"),
        ("head", "--train head"),
        ("last-block", "--train last-block --max-grad-norm 0.5"),
        ("all", "--train all --dtype bfloat16 --keep best"),
    ] {
        train(name, options).succeeded();
        let out = place.path(name);
        let report = read_json(&out.join("report.json"));
        let metrics = read_jsonl(&out.join("metrics.jsonl"));
        let losses: Vec<f64> = metrics.iter().filter_map(|event| event["loss"].as_f64()).collect();
        let (first, last) = (losses[0], losses[7]);
        assert!(last < first, "{name}: the loss goes from {first} to {last}");
        let trained = if name == "lora" { "adapter" } else { "model" };
        assert!(out.join(trained).join("gpt2_lora.json").exists(), "{name}");
        assert_eq!(report["train"], name);
        let [trainable, total] =
            ["trainable_parameters", "total_parameters"].map(|name| report[name].as_u64().unwrap());
        assert!(if name == "all" { trainable == total } else { trainable < total }, "{report}");
    }
    let adapter = place.path("lora/adapter").display().to_string();
    run("gpt2-lora", ["predict", "--adapter", &adapter, "hi"])
        .failed(&["the adapter of a language model"]);
    let text = run("gpt2-lora", ["inspect", &adapter]).succeeded().stdout();
    for words in ["task_type: \"CAUSAL_LM\"", "transformer.h.0.mlp.c_fc.lora_A.weight [2, 16]"] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    // Training of the adapter continues.
    train("more", &format!("--adapter {adapter}")).succeeded();
    let losses = |name: &str| -> f64 {
        let metrics = read_jsonl(&place.path(name).join("metrics.jsonl"));
        metrics.iter().filter(|it| it["event"] == "step").filter_map(|it| it["loss"].as_f64()).sum()
    };
    assert!(losses("more") < losses("lora"), "{} {}", losses("more"), losses("lora"));
}

/// SIGKILL and SIGTERM in one run, also with random negatives and samples.
#[test]
fn interrupted_pretraining_resumes_byte_for_byte() {
    let place = Place::new();
    for (name, options) in [
        ("plain", "--checkpoint-every 4 --steps 20"),
        ("sampled", "--checkpoint-every 1 --steps 40 --softmax-candidates 64 --sample-every 9"),
    ] {
        let (whole, stopped) = (format!("{name}-whole"), format!("{name}-stopped"));
        place.pretrain(&whole, options).succeeded();
        place.killed(&stopped, options);
        assert!(!place.path(&stopped).join("model").exists());

        // As if the run was killed after the checkpoint, in the middle of a line.
        let metrics = place.path(&stopped).join("metrics.jsonl");
        let left = format!("{}{{\"eve", fs::read_to_string(&metrics).unwrap());
        fs::write(&metrics, &left).unwrap();

        let arguments = place.arguments(&stopped, &format!("{options} --resume"));
        let goes_on = || fs::read_to_string(&metrics).unwrap() != left;
        let interrupted = run_and_signal("gpt2-lora", arguments, "TERM", goes_on);
        let stderr = interrupted.stderr();
        interrupted.failed(&["stopped after step", "--resume"]);
        assert!(stderr.contains("resuming after step"), "{stderr}");
        let command = stderr.lines().find_map(|line| line.split_once("resume with: "));
        let command = command.unwrap().1;
        assert!(command.starts_with(binary("gpt2-lora").to_str().unwrap()), "{command}");
        // There is a checkpoint at the step of the stop.
        let step = stderr.split_once("stopped after step ").unwrap().1.split_once(' ').unwrap().0;
        let checkpoint = place.last_checkpoint(&stopped).unwrap();
        assert!(checkpoint.ends_with(format!("step-{:0>8}.safetensors", step)), "{checkpoint:?}");
        let shell = Command::new("sh").args(["-c", command]).env("OMP_NUM_THREADS", "1").output();
        assert!(shell.unwrap().status.success(), "{command}");
        assert!(place.last_checkpoint(&stopped).is_none());
        assert_same_results(&place.path(&whole), &place.path(&stopped));
    }
}

#[test]
fn seed_decides_the_model() {
    let place = Place::new();
    place.pretrain("one", "").succeeded();
    place.pretrain("again", "--resume").succeeded();
    assert_same_results(&place.path("one"), &place.path("again"));
    place.pretrain("other", "--seed 5").succeeded();
    let (one, other) = (results(&place.path("one")), results(&place.path("other")));
    for name in ["model/model.safetensors", "metrics.jsonl"] {
        assert!(one[name] != other[name], "{name} is the same for another seed");
    }
}

#[test]
fn finished_seeds_are_kept_if_their_inputs_are_unchanged() {
    let place = Place::new();
    place.pretrain("out", "--seeds 1,2 --steps 2").succeeded();
    let report = place.path("out/seed-1/report.json");
    let before = fs::read(&report).unwrap();
    place.pretrain("out", "--seeds 1,2,3 --steps 2 --resume").succeeded();
    assert_eq!(fs::read(&report).unwrap(), before);
    assert_eq!(read_json(&place.path("out/seeds.json"))["seeds"], json!([1, 2, 3]));
    place.write_text(text("Once more. "));
    let resumed = place.pretrain("out", "--seeds 1,2,3 --steps 2 --resume");
    resumed.failed(&["seed-1", "another dataset"]);
}

#[test]
fn resuming_refuses_changed_settings_and_inputs() {
    let place = Place::new();
    let options = "--checkpoint-every 1 --steps 4000";
    place.killed("out", options);
    let path = place.last_checkpoint("out").unwrap();
    let checkpoint = fs::read(&path).unwrap();
    place.pretrain("out", options).failed(&["checkpoints of an unfinished run", "--resume"]);

    let resumed = format!("{options} --resume");
    for (other, words) in [
        ("--seed 5", "seed was 123"),
        ("--batch-size 3", "batch-size was 4"),
        ("--softmax-candidates 9", "softmax-candidates was not given"),
        ("--max-grad-norm 2", "max-grad-norm was 1.0"),
    ] {
        let options = format!("{resumed} {other}");
        place.pretrain("out", &options).failed(&["checkpoints/step-", words, "--out"]);
    }

    place.write_text(text("Once more. "));
    place.pretrain("out", &resumed).failed(&["checkpoints/step-", "another dataset"]);
    place.write_text(text(""));
    // The second has tensors of the same shapes.
    for change in [json!({"n_layer": 2}), json!({"n_head": 4})] {
        place.write_config(change);
        place.pretrain("out", &resumed).failed(&["checkpoints/step-", "another base model"]);
    }
    place.write_config(json!({}));
    assert!(fs::read(&path).unwrap() == checkpoint, "the checkpoint has changed");

    fs::write(&path, &checkpoint[..checkpoint.len() / 2]).unwrap();
    place.pretrain("out", &resumed).failed(&["checkpoints/step-", "damaged checkpoint"]);
}

#[test]
fn results_are_not_overwritten() {
    let place = Place::new();
    place.pretrain("out", "--steps 1").succeeded();
    let before = results(&place.path("out"));
    place.pretrain("out", "--steps 1").failed(&["contains the results of a run", "--out"]);
    place.pretrain("out", "--steps 1 --resume").failed(&["is finished", "--out"]);
    assert!(results(&place.path("out")) == before);
    for name in ["run.toml", "metrics.jsonl", "model/model.safetensors"] {
        let file = place.path("theirs").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "mine").unwrap();
        place.pretrain("theirs", "--steps 1").failed(&["not written by a run", "--out"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        fs::remove_dir_all(place.path("theirs")).unwrap();
    }
    fs::write(place.path("file"), "mine").unwrap();
    place
        .pretrain("file", "--steps 1")
        .failed(&["file: expected a directory, got a file", "--out"]);
    assert_eq!(fs::read_to_string(place.path("file")).unwrap(), "mine");
}

#[test]
fn unusable_text_is_named() {
    let place = Place::new();
    let refused = |text: &[u8], words: &[&str]| {
        place.write_text(text);
        place.pretrain("out", "").failed(words);
    };
    refused(b"", &["text.txt: too few documents", "got 0", "more text"]);
    refused(b"one\n\ntwo\n", &["too few tokens for one batch", "4 × 32"]);
    refused(b"one\ntwo\n", &["text.txt: too few documents", "got 1"]);
    refused(b"one\n\ncaf\xe9\n", &["text.txt, line 3", "UTF-8"]);
    fs::remove_file(place.path("text.txt")).unwrap();
    place.pretrain("out", "").failed(&["text.txt"]);
    assert!(!place.path("out").exists());
}

#[test]
fn invalid_settings_and_models_are_refused() {
    let place = Place::new();
    for (options, words) in [
        ("--steps 0", "--steps:"),
        ("--epochs 1 --steps 1", "--epochs"),
        ("--max-length 33", "--max-length:"),
        ("--softmax-candidates 0", "--softmax-candidates:"),
        ("--softmax-candidates 50257", "50257 tokens (vocab_size)"),
        ("--threads 1025", "--threads:"),
        ("--steps 1000000001", "--steps:"),
        ("--min-lr-ratio 1.5", "--min-lr-ratio:"),
        ("--max-grad-norm 0", "--max-grad-norm:"),
        ("--dtype float8", "float8"),
        ("--rank 4", "--rank: has no effect here"),
        ("--model nowhere", "nowhere"),
        ("--device cuda:99", "cuda"),
    ] {
        place.pretrain("out", options).failed(&[words]);
    }
    for (change, words) in [
        (json!({"n_head": 3}), "n_head"),
        (json!({"vocab_size": 50256}), "config.json"),
        (json!({"n_embd": "wide"}), "config.json"),
    ] {
        place.write_config(change);
        place.pretrain("out", "").failed(&[words]);
    }
    fs::write(place.path("shape/config.json"), "{").unwrap();
    place.pretrain("out", "").failed(&["config.json"]);
    fs::remove_file(place.path("shape/config.json")).unwrap();
    place.pretrain("out", "").failed(&["config.json"]);
    assert!(!place.path("out").exists());
}
