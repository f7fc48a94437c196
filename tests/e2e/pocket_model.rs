//! The pocket model, fine-tuned on the sample messages as in the quickstart.

use std::path::{Path, PathBuf};

use test_support::{Finished, read_json, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn train(options: &str) -> Finished {
    let root = root();
    let (model, data) = (root.join("weights/pocket"), root.join("datasets/sample/messages.tsv"));
    let fixed = ["--model", model.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let all = fixed.into_iter().chain(["--out", "out"]).chain(options.split_whitespace());
    run("gpt2-lora", ["train"].into_iter().chain(all).map(String::from)).succeeded()
}

fn accuracy(run: &Finished, set: &str) -> f64 {
    let report = read_json(&run.folder.path().join("out/report.json"));
    report["accuracy"][set].as_f64().unwrap()
}

#[test]
fn pretrained_weights_beat_random_ones() {
    let learned = train("--epochs 4");
    let random = train("--epochs 4 --random-init");
    // 129 messages: four standard deviations above a guess.
    let (learned_test, random_test) = (accuracy(&learned, "test"), accuracy(&random, "test"));
    assert!(learned_test > 0.68, "{learned_test}");
    assert!(learned_test > random_test, "{learned_test} and {random_test}");
    let stderr = learned.stderr();
    assert!(
        stderr.contains("note: defaults from ") && stderr.contains("fine_tuning.json"),
        "{stderr}"
    );

    let adapter = learned.folder.path().join("out/adapter").display().to_string();
    let texts = ["See you at six, love mum", "WIN a free prize! Claim now at http://prize.example"];
    let printed = run("gpt2-lora", ["predict", "--adapter", &adapter, "--", texts[0], texts[1]]);
    let printed = printed.succeeded().stdout();
    let labels: Vec<&str> = printed.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(labels, ["ham", "spam"], "{printed}");
}

#[test]
fn generated_text_is_english() {
    let model = root().join("weights/pocket").display().to_string();
    let arguments =
        ["generate", "--model", &model, "--prompt", "I would like to", "--max-new-tokens"];
    let text = run("gpt2-lora", arguments.into_iter().chain(["30"])).succeeded().stdout();
    let words = ["a", "the", "to", "you", "in", "for", "and", "of", "is", "at", "on", "I"];
    let common = text.split(|c: char| !c.is_alphanumeric()).filter(|word| words.contains(word));
    assert!(common.count() >= 5, "{text}");
}
