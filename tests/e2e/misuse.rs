//! Invalid requests get one error with a remedy.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use test_support::{Finished, binary, fixture, run, train, train_on, training};

#[test]
fn missing_files_are_named_with_the_command_that_fetches_them() {
    let none: [&str; 0] = [];
    run("trainer", none).failed(&["weights/gpt2", "`cargo xtask fetch-weights gpt2`"]);
    run("trainer", ["--random-init"])
        .failed(&["datasets/sms-spam/SMSSpamCollection", "`cargo xtask fetch-dataset`"]);
    run("gpt2-lora", ["generate", "--model", "gpt2-medium", "--prompt", "x"])
        .failed(&["`cargo xtask fetch-weights gpt2-medium`"]);
    train_on(&fixture("tiny"), Path::new("nowhere.tsv"), Path::new("out"))
        .failed(&["nowhere.tsv: does not exist", "--data"]);
    let data = fixture("messages.tsv").display().to_string();
    // inspect has no --model.
    for (path, problem) in [
        ("nowhere/at/all", "config.json is missing"),
        ("gpt2-medium", "`cargo xtask fetch-weights gpt2-medium`"),
        (&data, "expected a directory, got a file"),
    ] {
        let inspected = run("gpt2-lora", ["inspect", path]).failed(&[path, problem]);
        assert!(!inspected.stderr().contains("--model"), "{}", inspected.stderr());
    }
}

#[test]
fn invalid_settings_are_refused() {
    train("--epochs 0").failed(&["--epochs"]);
    train("--rank 0").failed(&["rank", "got 0", "--rank"]);
    train("--alpha 1e300").failed(&["alpha", "got 1e300", "--alpha"]);
    train("--beta2 1e300").failed(&["--beta2", "got 1e300"]);
    train("--lora-dropout 1").failed(&["dropout", "--lora-dropout"]);
    train("--rank-pattern x=3").failed(&["\"x\"", "--rank-pattern"]);
    train("--target-modules re:(").failed(&["unclosed group", "--target-modules"]);
    train("--lr inf").failed(&["--lr"]);
    train("--max-length 97").failed(&["--max-length", "97", "96"]);
    train("--target-modules q,nothing").failed(&[
        "\"nothing\"",
        "h.0.attn.c_attn.q",
        "--target-modules",
    ]);
    train("--batch-size 1000").failed(&["1000", "--batch-size"]);
    train("--threads 1025").failed(&["--threads", "1025", "1024"]);
    train("--rank x").failed(&["'x'", "--rank"]);
    train("--recipe cookie").failed(&["'cookie'", "--recipe"]);
    train("--device abacus").failed(&["abacus"]);
}

#[test]
fn missing_device_does_not_fall_back_to_the_cpu() {
    train("--device cuda:99").failed(&["cuda"]);
}

/// The tiny model with one file changed, and a run on it.
fn with_model(change: impl FnOnce(&Path)) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture("tiny").join(file), folder.path().join(file)).unwrap();
    }
    change(folder.path());
    train_on(folder.path(), &fixture("messages.tsv"), Path::new("out"))
}

#[test]
fn invalid_models_are_named() {
    with_model(|_| {}).succeeded();
    let weights = |folder: &Path| folder.join("model.safetensors");
    with_model(|folder| {
        let bytes = fs::read(weights(folder)).unwrap();
        fs::write(weights(folder), &bytes[..bytes.len() / 2]).unwrap();
    })
    .failed(&["model.safetensors"]);
    with_model(|folder| fs::write(weights(folder), "no weights").unwrap())
        .failed(&["model.safetensors"]);
    let change = |from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let path = folder.join("config.json");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(path, text.replace(from, to)).unwrap();
        }
    };
    with_model(change("\"n_layer\": 2", "\"n_layer\": 3")).failed(&[
        "model.safetensors",
        "h.2.ln_1.weight",
        "9 more tensors",
    ]);
    with_model(change("\"n_layer\": 2", "\"n_layer\": 1"))
        .failed(&["model.safetensors", "h.1.attn.c_attn.weight"]);
    with_model(change("\"n_head\": 2", "\"n_head\": 3")).failed(&["config.json", "n_head"]);
    with_model(change("\"n_positions\": 96", "\"n_positions\": 95")).failed(&[
        "wpe.weight",
        "[96, 16]",
        "[95, 16]",
    ]);
    with_model(change("{", "")).failed(&["config.json"]);
}

fn with_data(bytes: impl AsRef<[u8]>) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("messages.tsv");
    fs::write(&data, bytes).unwrap();
    train_on(&fixture("tiny"), &data, Path::new("out"))
}

#[test]
fn invalid_data_is_named() {
    with_data("").failed(&["messages.tsv", "no examples"]);
    with_data("ham\tone\nham two\n").failed(&["messages.tsv, line 2", "no tab"]);
    with_data("ham\tone\nham\ttwo\n").failed(&[
        "messages.tsv",
        "the label \"ham\"",
        "--label-column",
    ]);
    with_data(b"ham\tone\nspam\t\xff\n").failed(&["messages.tsv, line 2", "0xff", "UTF-8"]);
    with_data("ham\tone\nspam\ttwo\n").failed(&["too few"]);
}

#[test]
fn output_that_is_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    train_on(&fixture("tiny"), &fixture("messages.tsv"), &file).failed(&["file"]);
    assert_eq!(fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn foreign_directory_is_not_written_into() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run.toml"), "mine").unwrap();
    train_on(&fixture("tiny"), &fixture("messages.tsv"), folder.path())
        .failed(&["run.toml", "--out"]);
    assert_eq!(fs::read_to_string(folder.path().join("run.toml")).unwrap(), "mine");
}

#[test]
fn nan_loss_stops_the_run() {
    let run = train("--lr 1e30 --epochs 1").failed(&["step ", "rows [", "--lr"]);
    assert!(!run.folder.path().join("out/adapter").exists());
}

/// The files are complete even if standard output and error are closed.
#[cfg(unix)]
#[test]
fn closed_output_does_not_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut arguments = training(&fixture("tiny"), &fixture("messages.tsv"), &out);
    arguments.extend("--epochs 1 --threads 1 --print-model".split(' ').map(String::from));
    let mut run = Command::new(binary("trainer"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((run.stdout.take(), run.stderr.take()));
    assert_eq!(run.wait().unwrap().code(), Some(0));
    assert!(out.join("report.json").is_file());
}

#[test]
fn invalid_generation_is_refused() {
    let model = fixture("tiny").display().to_string();
    let generate = |prompt: &str, option: &str| {
        let arguments = ["generate", "--model", &model, "--prompt", prompt];
        let option = option.split(' ').filter(|word| !word.is_empty());
        run("gpt2-lora", arguments.into_iter().chain(option))
    };
    generate("", "").failed(&["prompt: empty", "--prompt"]);
    generate(&"word ".repeat(200), "").failed(&["context of 96", "--prompt"]);
    generate("a", "--top-k 0").failed(&["top-k", "got 0", "--top-k"]);
    generate("a", "--temperature 0").failed(&["temperature", "got 0", "--temperature"]);
    // libtorch overflows its stack with many more threads.
    generate("a", "--threads 99999").failed(&["--threads", "1024"]);
}
