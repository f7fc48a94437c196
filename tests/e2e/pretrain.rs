//! Pretraining: what a run leaves, that it goes on after an interruption as if
//! there had been none, and what is refused.

use std::{fs, path::PathBuf, process::Command};

use e2e_tests::{
    Finished, assert_same_results, binary, read_json, read_jsonl, results, run, run_and_signal,
};
use serde_json::{Value, json};
use tempfile::TempDir;

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
        fs::write(self.path("config.json"), config.to_string()).unwrap();
    }

    /// The command line of a run of twelve steps.
    fn arguments(&self, out: &str, options: &str) -> Vec<String> {
        let mut all = vec!["pretrain".to_owned()];
        for (option, name) in [("--text", "text.txt"), ("--config", "config.json"), ("--out", out)]
        {
            all.extend([option.to_owned(), self.path(name).display().to_string()]);
        }
        let common = "--threads=1 --device=cpu --batch-size=4 --held-out=0.1 --warmup=2 --lr=0.01 \
                      --eval-every=4 --steps=12";
        let is_changed = |given: &&str| {
            let name = given.split('=').next().unwrap();
            options.split_whitespace().any(|option| option == name)
        };
        let common = common.split(' ').filter(|given| !is_changed(given));
        all.extend(common.chain(options.split_whitespace()).map(String::from));
        all
    }

    fn pretrain(&self, out: &str, options: &str) -> Finished {
        run("gpt2-lora", self.arguments(out, options))
    }

    /// Starts a run and kills it when its first checkpoint is there.
    fn killed(&self, out: &str, options: &str) {
        let checkpoint = self.checkpoint(out);
        let run = run_and_signal("gpt2-lora", self.arguments(out, options), "KILL", || {
            checkpoint.exists()
        });
        assert_eq!(run.output.status.code(), None, "it ended by itself");
    }

    fn checkpoint(&self, out: &str) -> PathBuf {
        self.path(out).join("checkpoint/state.safetensors")
    }
}

/// Forty short documents in which words follow each other by a rule.
fn text(begin: &str) -> String {
    let words = ["red", "green", "blue", "black", "white", "brown", "grey"];
    let document = |number: usize| {
        let word = |place: usize| words[(number + place * place) % words.len()];
        let sentence: Vec<&str> = (0..20).map(word).collect();
        format!("{begin}The colours are {}.", sentence.join(" and "))
    };
    (0..40).map(document).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn a_run_leaves_a_model_metrics_and_a_report() {
    let place = Place::new();
    let finished = place.pretrain("out", "--sample-every 6 --steps 60 --json").succeeded();
    let out = place.path("out");
    let names: Vec<String> = results(&out).into_keys().collect();
    assert_eq!(names, ["config.json", "metrics.jsonl", "model.safetensors", "report.json"]);

    let report = read_json(&out.join("report.json"));
    assert_eq!(serde_json::from_str::<Value>(&finished.stdout()).unwrap(), report);
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!((number("train_documents"), number("held_out_documents")), (36.0, 4.0));
    assert_eq!((number("steps"), number("tokens_seen")), (60.0, 60.0 * 4.0 * 32.0));
    // 50257 and 32 embeddings of 8, a block, the last norm.
    let block = 2 * 8 + 8 * 24 + 24 + 8 * 8 + 8 + 2 * 8 + 8 * 32 + 32 + 32 * 8 + 8;
    assert_eq!(report["parameters"], 50257 * 8 + 32 * 8 + block + 2 * 8);
    let (unigram, bigram) = (number("unigram_perplexity"), number("bigram_perplexity"));
    assert!(1.0 < bigram && bigram < unigram && unigram < 50257.0, "{report}");
    assert!(number("held_out_perplexity") < 1000.0, "{report}");

    let metrics = read_jsonl(&out.join("metrics.jsonl"));
    let of = |kind: &str| -> Vec<&Value> {
        metrics.iter().filter(|event| event["event"] == kind).collect()
    };
    let losses: Vec<f64> = of("step").iter().map(|event| event["loss"].as_f64().unwrap()).collect();
    assert_eq!((losses.len(), of("eval").len(), of("sample").len()), (60, 15, 10));
    // At first all tokens are about as likely.
    assert!((losses[0] - 50257f64.ln()).abs() < 0.1, "{}", losses[0]);
    assert!(losses[59] < losses[0] - 3.0, "{losses:?}");
    let last = of("eval").last().unwrap()["held_out_perplexity"].as_f64().unwrap();
    // The file's numbers are rounded to float16.
    assert!((last / number("held_out_perplexity") - 1.0).abs() < 0.01, "{last}, {report}");

    let model = out.display().to_string();
    let prompt =
        ["generate", "--model", &model, "--prompt", "The colours", "--max-new-tokens", "4"];
    let generated = run("gpt2-lora", prompt).succeeded().stdout();
    assert!(generated.starts_with("The colours") && generated.len() > 12, "{generated}");
    let json = run("gpt2-lora", ["inspect", &model, "--json"]).succeeded().stdout();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["total_parameters"], report["parameters"]);

    let on = format!("--init {model} --steps 2");
    let table = place.pretrain("on", &on).succeeded().stdout();
    for word in ["unigram", "bigram", "GPT-2", "256 tokens seen in 2 steps", "parameters"] {
        assert!(table.contains(word), "{word} is not in {table}");
    }
    let first = &read_jsonl(&place.path("on/metrics.jsonl"))[0];
    assert!(first["loss"].as_f64().unwrap() < losses[0] - 3.0, "not begun with --init: {first}");
}

/// Killed without warning, asked to stop, and both in one run, also where the
/// run has what JSON cannot hold and what is drawn at each step.
#[test]
fn a_run_that_was_interrupted_ends_as_if_it_was_not() {
    let place = Place::new();
    for (name, options) in [
        ("plain", "--checkpoint-every 7 --steps 40"),
        ("drawn", "--checkpoint-every 1 --steps 80 --softmax-candidates 64 --clip inf"),
    ] {
        let (whole, cut) = (place.path(&format!("{name}-whole")), format!("{name}-cut"));
        place.pretrain(&format!("{name}-whole"), options).succeeded();
        place.killed(&cut, options);
        let checkpoint = place.checkpoint(&cut);
        assert!(!place.path(&cut).join("model.safetensors").exists());

        // As if it had come further than its checkpoint, up to half a line.
        let metrics = place.path(&cut).join("metrics.jsonl");
        let ahead = r#"{"event":"step","step":59,"lr":1.0,"loss":1.0,"gradient_norm":1.0}"#;
        let left = format!("{}{ahead}\n{{\"eve", fs::read_to_string(&metrics).unwrap());
        fs::write(&metrics, &left).unwrap();

        let resumed = format!("{options} --resume");
        let arguments = place.arguments(&cut, &resumed);
        let goes_on = || fs::read_to_string(&metrics).unwrap() != left;
        let stopped = run_and_signal("gpt2-lora", arguments, "TERM", goes_on)
            .failed(&["stopped after step", "--resume"]);
        assert!(stopped.stderr().contains("done before"), "{}", stopped.stderr());
        let command = stopped.stderr();
        let command = command.lines().find_map(|line| line.split_once("go on with: gpt2-lora "));
        let command = format!("{} {}", binary("gpt2-lora").display(), command.unwrap().1);
        // It was kept where it stopped, and not only where it would have been.
        let said = stopped.stderr();
        let step = said.split_once("stopped after step ").unwrap().1.split_once(' ').unwrap().0;
        let kept = String::from_utf8_lossy(&fs::read(&checkpoint).unwrap()).into_owned();
        assert!(kept.contains(&format!(r#"\"step\":{step},"#)), "not of step {step}");
        let shell = Command::new("sh").args(["-c", &command]).env("OMP_NUM_THREADS", "1").output();
        assert!(shell.unwrap().status.success(), "{command}");
        assert!(!checkpoint.exists());
        assert_same_results(&whole, &place.path(&cut));
    }
}

#[test]
fn another_seed_is_another_model() {
    let place = Place::new();
    place.pretrain("one", "").succeeded();
    place.pretrain("again", "--resume").succeeded();
    assert_same_results(&place.path("one"), &place.path("again"));
    place.pretrain("other", "--seed 5").succeeded();
    let (one, other) = (results(&place.path("one")), results(&place.path("other")));
    for name in ["model.safetensors", "metrics.jsonl"] {
        assert!(one[name] != other[name], "{name} is the same for another seed");
    }
}

#[test]
fn a_run_goes_on_only_as_it_was_begun() {
    let place = Place::new();
    let options = "--checkpoint-every 1 --steps 4000";
    place.killed("out", options);
    let checkpoint = fs::read(place.checkpoint("out")).unwrap();
    place.pretrain("out", options).failed(&["has the checkpoint of a run", "--resume"]);

    let resumed = format!("{options} --resume");
    for (other, words) in [
        ("--seed 5", "seed was 123"),
        ("--batch-size 3", "batch-size was 4"),
        ("--softmax-candidates 9", "softmax-candidates was not given"),
        ("--clip inf", "clip was 1.0"),
    ] {
        let options = format!("{resumed} {other}");
        place.pretrain("out", &options).failed(&["state.safetensors", words, "--out"]);
    }

    place.write_text(text("Once more. "));
    place.pretrain("out", &resumed).failed(&["state.safetensors", "another text"]);
    place.write_text(text(""));
    // The second has tensors of the same shapes.
    for change in [json!({"n_layer": 2}), json!({"n_head": 4})] {
        place.write_config(change);
        place.pretrain("out", &resumed).failed(&["state.safetensors", "another shape"]);
    }
    place.write_config(json!({}));
    assert!(fs::read(place.checkpoint("out")).unwrap() == checkpoint, "the checkpoint has changed");

    fs::write(place.checkpoint("out"), &checkpoint[..checkpoint.len() / 2]).unwrap();
    place.pretrain("out", &resumed).failed(&["state.safetensors", "not a whole checkpoint"]);
}

#[test]
fn a_folder_with_a_model_is_not_written_into() {
    let place = Place::new();
    place.pretrain("out", "--steps 1").succeeded();
    let before = results(&place.path("out"));
    for options in ["--steps 1", "--steps 1 --resume"] {
        place.pretrain("out", options).failed(&["is finished", "--init"]);
    }
    assert!(results(&place.path("out")) == before);
    fs::remove_file(place.path("out/report.json")).unwrap();
    place.pretrain("out", "--steps 1").failed(&["has a model already", "--out"]);
    for name in ["config.json", "metrics.jsonl", "checkpoints/step-00000001.safetensors"] {
        let file = place.path("theirs").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "mine").unwrap();
        place.pretrain("theirs", "--steps 1").failed(&["is of no pretraining", "--out"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        fs::remove_dir_all(place.path("theirs")).unwrap();
    }
    fs::write(place.path("file"), "mine").unwrap();
    place.pretrain("file", "--steps 1").failed(&["file is a file", "give --out a folder"]);
    assert_eq!(fs::read_to_string(place.path("file")).unwrap(), "mine");
}

#[test]
fn text_that_cannot_be_learnt_from_is_named() {
    let place = Place::new();
    let refused = |text: &[u8], words: &[&str]| {
        place.write_text(text);
        place.pretrain("out", "").failed(words);
    };
    refused(b"", &["0 documents", "more text"]);
    refused(b"one\n\ntwo\n", &["too few for one batch", "4 × 32"]);
    refused(b"one\ntwo\n", &["1 documents"]);
    refused(b"one\n\ncaf\xe9\n", &["text.txt, line 3", "UTF-8"]);
    fs::remove_file(place.path("text.txt")).unwrap();
    place.pretrain("out", "").failed(&["cannot read", "text.txt"]);
    assert!(!place.path("out").exists());
}

#[test]
fn settings_and_models_without_meaning_are_refused() {
    let place = Place::new();
    for (options, words) in [
        ("--steps 0", "steps is 0"),
        ("--epochs 1 --steps 1", "--epochs"),
        ("--context 33", "context is 33"),
        ("--softmax-candidates 0", "softmax-candidates is 0"),
        ("--threads 1025", "threads is 1025; expected 1 to 1024"),
        ("--steps 1000000001", "steps is 1000000001; expected 1 to 1000000000"),
        ("--min-lr 0.1", "min-lr 0.1 is above lr 0.01"),
        ("--clip 0", "clip is 0"),
        ("--precision float8", "float8"),
        ("--init nowhere", "nowhere"),
        ("--device cuda:99", "cuda"),
    ] {
        place.pretrain("out", options).failed(&[words]);
    }
    for (change, words) in [
        (json!({"n_head": 3}), "n_head"),
        (json!({"vocab_size": 50256}), "vocab_size is 50256"),
        (json!({"n_embd": "wide"}), "config.json"),
    ] {
        place.write_config(change);
        place.pretrain("out", "").failed(&[words]);
    }
    fs::write(place.path("config.json"), "{").unwrap();
    place.pretrain("out", "").failed(&["config.json"]);
    fs::remove_file(place.path("config.json")).unwrap();
    place.pretrain("out", "").failed(&["cannot read", "config.json"]);
    assert!(!place.path("out").exists());
}
