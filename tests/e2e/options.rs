//! Training options, and `run.toml`.

use std::{fs, path::Path};

use serde_json::Value;
use test_support::{
    assert_same_results, fixture, read_json, read_jsonl, read_tensors, read_toml, results, run,
    train,
};

fn events(out: &Path, kind: &str) -> Vec<Value> {
    let mut all = read_jsonl(&out.join("metrics.jsonl"));
    all.retain(|event| event["event"] == kind);
    all
}

#[test]
fn run_toml_repeats_a_run() {
    for options in [
        "--recipe book --epochs 1 --rank 2",
        "--epochs 2 --rank 3 --alpha 1.5 --lora-dropout 0.3 --scaling rslora --schedule cosine \
         --warmup-steps 3 --max-grad-norm 0.5 --gradient-accumulation-steps 2 --batch-size 4 \
         --class-weights spam=2 --lora-plus-ratio 4 --keep best --early-stopping 3 --seed 9",
        "--epochs 1 --rank 2 --head full --dora --balance none --stratify --split-seed 5 \
         --rank-pattern c_fc=3 --target-modules c_attn,c_fc --dtype bfloat16 --alpha-pattern c_fc=2",
        r"--epochs 1 --rank 2 --init pissa --target-modules re:h\.0\..*",
        "--epochs 1 --train last-block --dtype bfloat16 --class-weights balanced",
    ] {
        let first = train(&format!("--threads 1 --lr 0.003 {options}")).succeeded();
        let out = first.folder.path().join("out");
        let (file, again) = (out.join("run.toml"), first.folder.path().join("again"));
        let arguments = ["train", "--config"].map(String::from).into_iter();
        let arguments = arguments.chain([file.display().to_string(), "--out".to_owned()]);
        run("gpt2-lora", arguments.chain([again.display().to_string()])).succeeded();
        println!("{options}");
        assert_same_results(&out, &again);
    }
}

#[test]
fn options_override_the_config_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.toml");
    fs::write(&file, "rank = 2\nepochs = 1\nlr = 0.001\n").unwrap();
    let run = train(&format!("--config {} --rank 5", file.display())).succeeded();
    let settings = read_toml(&run.folder.path().join("out/run.toml"));
    assert_eq!(settings["rank"].as_integer(), Some(5));
    assert_eq!(settings["epochs"].as_float(), Some(1.0));
    fs::write(&file, "rank = 2\nepoch = 1\n").unwrap();
    train(&format!("--config {}", file.display()))
        .failed(&["small.toml, line 2", "unknown option `epoch`"]);
}

#[test]
fn early_stopping_and_the_best_epoch() {
    let options = "--rank 4 --lr 0.02 --batch-size 4 --threads 1 --epochs 8 --early-stopping 2";
    let run = train(&format!("{options} --keep best")).succeeded();
    let out = run.folder.path().join("out");
    let seen = events(&out, "validation");
    let losses: Vec<f64> = seen.iter().map(|event| event["loss"].as_f64().unwrap()).collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let best_epoch = 1 + losses.iter().position(|loss| *loss == best).unwrap();
    let report = read_json(&out.join("report.json"));
    assert_eq!(report["best"]["epoch"], best_epoch);
    assert!(losses.len() == 8 || losses.len() == best_epoch + 2, "{losses:?}");
    // The kept parameters have the validation accuracy of the best epoch.
    assert_eq!(report["accuracy"]["validation"], seen[best_epoch - 1]["accuracy"]);
    assert!(run.stdout().contains(&format!("best epoch on the validation set: {best_epoch},")));
    // Without --keep best the adapter is that from the last epoch.
    let last = train(options).succeeded();
    let adapter = |out: &Path| read_tensors(&out.join("adapter/adapter_model.safetensors"));
    if best_epoch < losses.len() {
        assert_ne!(adapter(&out), adapter(&last.folder.path().join("out")));
    }
}

#[test]
fn gradient_accumulation_equals_a_large_batch() {
    let losses = |options: &str| {
        let run = train(&format!("--rank 2 --epochs 2 --lr 0.003 --threads 1 {options}"));
        let run = run.succeeded();
        let steps = events(&run.folder.path().join("out"), "step").into_iter();
        steps.map(|step| (step["rows"].clone(), step["loss"].as_f64().unwrap())).collect()
    };
    let whole: Vec<(Value, f64)> = losses("--batch-size 12");
    let pieces = losses("--batch-size 3 --gradient-accumulation-steps 4");
    assert_eq!((whole.len(), pieces.len()), (18, 18));
    for ((rows, loss), (same_rows, same_loss)) in whole.iter().zip(&pieces) {
        assert_eq!(rows, same_rows);
        assert!((loss - same_loss).abs() < 1e-5, "{loss}, {same_loss}");
    }
}

#[test]
fn tensorboard_events_are_written() {
    let run = train("--rank 2 --epochs 1 --tensorboard").succeeded();
    let folder = run.folder.path().join("out/tensorboard");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
    let bytes = fs::read(&files[0]).unwrap();
    for tag in ["loss/train_batch", "loss/validation", "accuracy/train"] {
        assert!(bytes.windows(tag.len()).any(|window| window == tag.as_bytes()), "{tag}");
    }
}

#[test]
fn adapters_are_merged_and_used() {
    let trained = train("--epochs 1 --rank 2 --lr 0.005").succeeded();
    let path = |name: &str| trained.folder.path().join(name).display().to_string();
    let (adapter, merged) = (path("out/adapter"), path("merged"));
    let names = read_tensors(Path::new(&adapter).join("adapter_model.safetensors").as_path());
    let fused = "base_model.model.transformer.h.0.attn.c_attn.lora_B.weight";
    assert_eq!(names[fused].0, [48, 6]);
    assert!(names.contains_key("base_model.model.score.weight"));
    let predict = |folder: &str| {
        let all = ["predict", "--adapter", folder, "--json", "win a prize", "see you"];
        let printed = run("gpt2-lora", all).succeeded().stdout();
        let lines = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["probabilities"]["spam"].as_f64().unwrap()).collect::<Vec<f64>>()
    };
    run("gpt2-lora", ["merge", "--adapter", &adapter, "--out", &merged]).succeeded();
    for (one, other) in predict(&adapter).iter().zip(predict(&merged)) {
        assert!((one - other).abs() < 1e-5, "{one}, {other}");
    }
    for file in ["vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"] {
        assert!(Path::new(&merged).join(file).is_file(), "{file}");
    }
    let config = read_json(&Path::new(&merged).join("config.json"));
    assert_eq!(config["architectures"][0], "GPT2ForSequenceClassification");
    assert_eq!(
        (&config["id2label"]["1"], &config["label2id"]["spam"]),
        (&"spam".into(), &1.into())
    );
    // Files are not replaced, and a folder without an adapter is named.
    run("gpt2-lora", ["merge", "--adapter", &adapter, "--out", &merged])
        .failed(&["merged already contains model.safetensors", "--out"]);
    let run_directory = path("out");
    let files = || fs::read_dir(&run_directory).unwrap().count();
    let before = files();
    run("gpt2-lora", ["merge", "--adapter", &adapter, "--out", &run_directory])
        .failed(&["out already contains run.toml", "--out"]);
    assert_eq!(files(), before);
    let file = path("out/run.toml");
    let data = fixture("messages.tsv").display().to_string();
    let evaluation = ["evaluate", "--adapter", &adapter, "--data", &data, "--out", &file];
    for arguments in [&["merge", "--adapter", &adapter, "--out", &file][..], &evaluation] {
        run("gpt2-lora", arguments)
            .failed(&["run.toml: expected a directory, got a file", "--out"]);
    }
    let tiny = fixture("tiny").display().to_string();
    run("gpt2-lora", ["merge", "--adapter", &tiny, "--out", &path("x")])
        .failed(&["expected an adapter, got a complete model"]);
    run("gpt2-lora", ["predict", "--adapter", &path("out"), "hi"])
        .failed(&["the adapter of that run is in", "out/adapter"]);
    // Results of a run are not replaced.
    let (model, data) = (fixture("tiny"), fixture("messages.tsv"));
    let again = test_support::training(&model, &data, Path::new(&path("out")));
    let before = results(Path::new(&path("out")));
    run("trainer", again).failed(&["report.json", "--out"]);
    assert_eq!(results(Path::new(&path("out"))), before);
}

#[test]
fn shell_completions_and_exit_codes() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run("gpt2-lora", ["completions", shell]).succeeded().stdout();
        assert!(script.contains("--lora-dropout") || script.contains("lora-dropout"), "{shell}");
    }
    let help = run("gpt2-lora", ["--help"]).succeeded().stdout();
    assert!(help.contains("Exit codes"), "{help}");
    let wrong = run("gpt2-lora", ["trian"]);
    assert_eq!(wrong.output.status.code(), Some(2));
    let missing = run("gpt2-lora", ["predict", "--adapter", "nowhere", "x"]);
    assert_eq!(missing.output.status.code(), Some(1));
}
