//! `gpt2-lora pretrain`: a base model from plain text, stopped and gone on with.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use e2e_tests::{Finished, binary, read_json, read_jsonl, run};
use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str =
    r#"{"vocab_size": 50257, "n_positions": 32, "n_embd": 8, "n_layer": 1, "n_head": 2}"#;

/// A folder with a text of a hundred documents and a tiny model's configuration.
fn world() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let document = |number: usize| {
        format!("The train to town {number} leaves at {} o'clock.\nThank you!\n", number % 12 + 1)
    };
    let text: Vec<String> = (0..100).map(document).collect();
    fs::write(folder.path().join("text.txt"), text.join("\n")).unwrap();
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    folder
}

/// The command line; later options win over the first ones only where they are
/// others.
fn arguments(world: &Path, out: &str, options: &str) -> Vec<String> {
    let path = |name: &str| world.join(name).display().to_string();
    let mut all = vec!["pretrain".to_owned()];
    all.extend(["--text".into(), path("text.txt"), "--config".into(), path("config.json")]);
    all.extend(["--out".into(), path(out), "--threads".into(), "1".into()]);
    let fixed = "--context 16 --batch-size 4 --warmup 4 --held-out 0.1 --lr 0.01";
    all.extend(fixed.split(' ').chain(options.split_whitespace()).map(String::from));
    all
}

fn pretrain(world: &Path, out: &str, options: &str) -> Finished {
    run("gpt2-lora", arguments(world, out, options))
}

#[test]
fn a_run_leaves_a_model_that_has_learned() {
    let world = world();
    let options = "--steps 60 --eval-every 30 --sample-every 60 --json";
    let printed = pretrain(world.path(), "out", options).succeeded().stdout();
    let out = world.path().join("out");
    let report = read_json(&out.join("report.json"));
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), report);
    assert_eq!(report["tokens_seen"], 60 * 4 * 16);
    let perplexity = |name: &str| report[format!("{name}_perplexity")].as_f64().unwrap();
    assert!(perplexity("bigram") < perplexity("unigram"));
    assert!(perplexity("held_out") < 500.0, "{report}");
    let metrics = read_jsonl(&out.join("metrics.jsonl"));
    let count = |kind: &str| metrics.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((count("step"), count("eval"), count("sample")), (60, 2, 1));
    assert!(!out.join("checkpoint").exists());

    let model = out.display().to_string();
    run("gpt2-lora", ["inspect", &model]).succeeded();
    let text = run("gpt2-lora", ["generate", "--model", &model, "--prompt", "The train"]);
    assert!(text.succeeded().stdout().starts_with("The train"));

    pretrain(world.path(), "out", "--steps 60").failed(&["is finished", "--out", "--init"]);
    // A warm start begins where the model is.
    let init = format!("--steps 1 --eval-every 1 --lr 0 --min-lr 0 --init {model}");
    let warm = arguments(world.path(), "warm", &init);
    let at = warm.iter().position(|word| word == "--lr").unwrap();
    let warm = [&warm[..at], &warm[at + 2..]].concat();
    run("gpt2-lora", warm).succeeded();
    let again = read_json(&world.path().join("warm/report.json"));
    assert_eq!(again["held_out_perplexity"], report["held_out_perplexity"]);
}

/// The files of a run that are the same for the same run.
fn results(out: &Path) -> Vec<Vec<u8>> {
    let files = ["model.safetensors", "config.json", "metrics.jsonl"];
    files.map(|file| fs::read(out.join(file)).unwrap()).to_vec()
}

#[test]
fn a_run_that_was_stopped_ends_as_one_that_was_not() {
    let world = world();
    let options = "--steps 400 --checkpoint-every 20 --eval-every 100 --sample-every 200 \
                   --softmax-candidates 2000";
    pretrain(world.path(), "whole", options).succeeded();
    let out = world.path().join("parts");
    let checkpoint = out.join("checkpoint/state.safetensors");
    let mut stops = 0;
    for signal in ["-KILL", "-TERM", "-INT", "-KILL"] {
        let mut child = Command::new(binary("gpt2-lora"))
            .args(arguments(world.path(), "parts", &format!("{options} --resume")))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let before = fs::metadata(&checkpoint).and_then(|file| file.modified()).ok();
        // Until it has written a checkpoint of its own, or is done.
        while child.try_wait().unwrap().is_none() {
            let now = fs::metadata(&checkpoint).and_then(|file| file.modified()).ok();
            if now.is_some() && now != before {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).output().unwrap();
        let ended = child.wait_with_output().unwrap();
        if sent.status.success() && !ended.status.success() {
            stops += 1;
            if signal != "-KILL" {
                let said = String::from_utf8(ended.stderr).unwrap();
                assert!(said.contains("error: stopped after step"), "{said}");
                assert!(said.contains("--resume"), "{said}");
            }
        }
    }
    assert!(stops > 0, "the run was over before it could be stopped");
    if !out.join("report.json").exists() {
        pretrain(world.path(), "parts", options).failed(&["checkpoint", "--resume"]);
        let other = options.replace("--steps 400", "--steps 401");
        let other = format!("{other} --resume --seed 7");
        pretrain(world.path(), "parts", &other).failed(&["seed was 123", "length was"]);
        pretrain(world.path(), "parts", &format!("{options} --resume")).succeeded();
    }
    assert!(results(&out) == results(&world.path().join("whole")));
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let world = world();
    let out = world.path().join("out");
    fs::create_dir_all(out.join("checkpoint")).unwrap();
    fs::write(out.join("checkpoint/state.safetensors"), "damaged").unwrap();
    let resumed = pretrain(world.path(), "out", "--steps 5 --resume");
    resumed.failed(&["state.safetensors", "not a whole checkpoint", "delete it"]);
    assert!(!out.join("model.safetensors").exists());
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let world = world();
    let bad = |file: &str, content: Option<&[u8]>, options: &str, words: &[&str]| {
        let path = world.path().join(file);
        let before = fs::read(&path).unwrap();
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        pretrain(world.path(), "out", options).failed(words);
        fs::write(&path, before).unwrap();
    };
    bad("text.txt", None, "", &["text.txt", "cannot read"]);
    bad("text.txt", Some(b""), "", &["text"]);
    bad("text.txt", Some(b"Hello.\n\nYou.\n"), "", &["token"]);
    bad("text.txt", Some(b"ab\xff\xfe"), "", &["text.txt", "UTF-8"]);
    bad("config.json", Some(b"{"), "", &["config.json"]);
    bad("config.json", Some(CONFIG.replace("50257", "100").as_bytes()), "", &["vocab_size is 100"]);
    let same =
        |options: &str, words: &[&str]| bad("config.json", Some(CONFIG.as_bytes()), options, words);
    same("--steps 0", &["steps is 0"]);
    same("--min-lr 1", &["min-lr 1 is above lr"]);
    same("--clip 0", &["clip is 0"]);
}
