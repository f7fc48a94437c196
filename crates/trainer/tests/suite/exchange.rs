//! Saved and merged adapters compute the logits of their run, also in PEFT and transformers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Parser;
use dataset::Tokenizer;
use gpt2_model::{DType, Gpt2, Gpt2Classifier, Gpt2Config, Linear, PackedRows, labels_of};
use serde_json::json;
use tch::{Device, Tensor};
use trainer::{
    AdapterSet, Control, Predictor, TrainArgs,
    inference::{Classified, read_metadata, write_merged},
    run,
};

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").canonicalize().unwrap()
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    args: TrainArgs,
}

/// The folder of a short run on the tiny model.
fn train(data: &str, options: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let fixed = "--epochs 2 --lr 0.005 --rank 3 --alpha 2.5";
    train_with(&fixtures().join(data), folder.path(), &format!("{fixed} {options}"));
    folder
}

/// Runs a training of the tiny model.
pub fn train_with(data: &Path, out: &Path, options: &str) {
    train_model(&fixtures().join("tiny"), data, out, options);
}

/// Runs a training.
pub fn train_model(model: &Path, data: &Path, out: &Path, options: &str) {
    let [model, data, out] = [model, data, out].map(|path| path.to_str().unwrap());
    let fixed = ["train", "--model", model, "--data", data, "--out", out];
    let all = fixed.into_iter().chain(options.split_whitespace());
    let args = Program::try_parse_from(all).unwrap().args;
    run(&args.resolve().unwrap(), &Control::default(), &mut ()).unwrap();
}

const TEXTS: [&str; 6] = [
    "WIN a free prize now, call 0800",
    "See you at home",
    "ok",
    "?",
    "Your account statement is ready; call now to claim 500 points",
    // Longer than any text of the training.
    "See you at home, or call me when you are at the shop and want to know what we need, because \
     I may be late: the train stands still, and nobody knows why, or when it moves, or whether \
     it does so today at all, so that you had better not wait for me with the dinner tonight",
];

fn answers(adapter: &Path) -> Vec<Classified> {
    classify(&Predictor::options().device(Device::Cpu).load(adapter).unwrap())
}

fn classify(predictor: &Predictor) -> Vec<Classified> {
    predictor.classify(TEXTS).unwrap().into_iter().collect::<Option<_>>().unwrap()
}

#[track_caller]
fn assert_same(one: &[Classified], other: &[Classified], what: &str) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one.label, other.label, "{what}");
        for (one, other) in one.probabilities.iter().zip(&other.probabilities) {
            assert!((one - other).abs() < 1e-5, "{what}: {one}, {other}");
        }
    }
}

/// Rows of tokens, and what a classifier in a folder makes of them.
fn rows_and_logits(folder: &Path, max_length: usize) -> (Vec<Vec<i64>>, Tensor) {
    let body = Gpt2::load(folder, Device::Cpu).unwrap();
    let head = Gpt2Classifier::head_of(folder, &body).unwrap().unwrap();
    let model = Gpt2Classifier::with_head(body, Box::new(Linear::new(head, None)));
    let tokenizer = Tokenizer::gpt2();
    let encode =
        |text: &&str| tokenizer.encode(text).into_iter().take(max_length).map(i64::from).collect();
    let rows: Vec<Vec<i64>> = TEXTS.iter().map(encode).collect();
    let lengths: Vec<i64> = rows.iter().map(|row| row.len() as i64).collect();
    let packed = PackedRows::new(&rows.concat(), &lengths, Device::Cpu).unwrap();
    let logits = model.forward_packed(&packed).unwrap();
    (rows, logits)
}

/// Runs a script of the fixtures with the Python that `PEFT_PYTHON` names.
pub fn run_python(script: &str, arguments: &[&Path]) {
    let python = std::env::var_os("PEFT_PYTHON").expect("PEFT_PYTHON names a Python with peft");
    let output =
        Command::new(python).arg(fixtures().join(script)).args(arguments).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!stdout.trim().is_empty(), "{script} reports no comparison");
}

/// Data and options of runs.
const RUNS: [(&str, &str); 9] = [
    ("messages.tsv", ""),
    ("messages.tsv", "--target-modules q,v"),
    ("messages.tsv", "--target-modules c_attn,score --scaling alpha-over-rank"),
    ("messages.tsv", "--scaling rslora --rank-pattern c_attn=5,h.1.mlp.c_fc=2"),
    ("messages.tsv", "--dora --alpha-pattern c_fc=4"),
    ("messages.tsv", "--init pissa"),
    ("messages.tsv", "--head full"),
    ("three_labels.tsv", "--head full --dora --target-modules k,c_proj"),
    ("three_labels.tsv", "--lora-dropout 0.2"),
];

/// Asserts that the adapter of a run, its files for PEFT and the merged model (`merged`)
/// classify alike, and writes the logits of the merged model to `logits.json`.
fn compare_forms(data: &str, options: &str) -> tempfile::TempDir {
    let out = train(data, options);
    let [adapter, peft, merged] = ["adapter", "peft", "merged"].map(|name| out.path().join(name));
    let expected = answers(&adapter);
    // PEFT does not keep gpt2_lora.json, and the logits do not need it.
    fs::create_dir(&peft).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter.join(file), peft.join(file)).unwrap();
    }
    let tiny = fixtures().join("tiny");
    let on_tiny = || Predictor::options().base(tiny.to_str().unwrap());
    let unlabeled = on_tiny().load(&peft).unwrap();
    assert_eq!(unlabeled.labels()[0], "LABEL_0");
    let labels = unlabeled.labels().iter().map(|label| label.to_lowercase());
    let labeled = on_tiny().labels(labels).load(&peft).unwrap();
    assert_eq!(labeled.labels()[0], "label_0");
    // It does not know where the training truncated the last text.
    for (one, other) in expected.iter().zip(&classify(&unlabeled)).take(TEXTS.len() - 1) {
        assert!((one.confidence() - other.confidence()).abs() < 1e-5, "{options}");
    }

    let cpu = Predictor::options().device(Device::Cpu);
    write_merged(&adapter, &cpu, &merged, DType::Float32).unwrap();
    assert_same(&expected, &answers(&merged), options);
    let labels = labels_of(&merged).unwrap();
    assert_eq!(labels.len(), expected[0].probabilities.len());
    let max_length = read_metadata(&merged).unwrap().unwrap().max_length;
    let (rows, logits) = rows_and_logits(&merged, max_length);
    assert!(rows[5].len() == max_length && rows[4].len() < max_length, "{max_length}");
    let softmax = logits.softmax(-1, None);
    assert_eq!(softmax.size()[0] as usize, expected.len());
    for (row, answer) in (0..).zip(&expected) {
        let class = labels.iter().position(|label| *label == answer.label).unwrap();
        let probability = softmax.double_value(&[row, class as i64]);
        assert!((answer.confidence() - probability).abs() < 1e-5, "{options}: {probability}");
    }

    let values: Vec<Vec<f64>> = Vec::try_from(logits.to_kind(tch::Kind::Double)).unwrap();
    let predicted: Vec<&str> = expected.iter().map(|answer| answer.label.as_str()).collect();
    let scores: Vec<f64> = expected.iter().map(Classified::confidence).collect();
    let all = json!({
        "ids": rows, "logits": values, "labels": labels,
        "texts": TEXTS, "answers": predicted, "scores": scores,
    });
    fs::write(out.path().join("logits.json"), all.to_string()).unwrap();
    out
}

#[test]
fn saved_and_merged_adapters_predict_like_the_run() {
    for (data, options) in RUNS {
        compare_forms(data, options);
    }
}

/// Programs in the Python blocks of a document.
pub fn python_programs<const N: usize>(document: &Path) -> [String; N] {
    let text = fs::read_to_string(document).unwrap();
    let blocks = text.split("```python\n").skip(1);
    let programs = blocks.map(|block| block.split_once("```").unwrap().0.to_owned());
    programs.collect::<Vec<_>>().try_into().unwrap()
}

fn readme_programs() -> [String; 2] {
    python_programs(&fixtures().join("../../README.md"))
}

/// Folder with the adapter of a run in `runs/gpt2-1/adapter`, the path of the adapter, and the
/// program of its model card.
fn run_with_model_card() -> (tempfile::TempDir, PathBuf, String) {
    let folder = train("messages.tsv", "");
    let runs = folder.path().join("runs/gpt2-1");
    fs::create_dir_all(&runs).unwrap();
    let adapter = runs.join("adapter");
    fs::rename(folder.path().join("adapter"), &adapter).unwrap();
    let [card] = python_programs(&adapter.join("README.md"));
    (folder, adapter, card)
}

#[test]
fn readme_and_model_card_have_the_same_program() {
    let (_folder, _, card) = run_with_model_card();
    let [readme, _] = readme_programs();
    // Only the base model and the path of the adapter differ.
    let expected = readme.replacen("\"openai-community/gpt2\"", "\"path/to/tiny\"", 1);
    assert_eq!(expected.replace("\"runs/gpt2-1/adapter\"", "\".\""), card);
}

/// Returns the output of a Python program that finds models in a cache of the Hub only.
pub fn printed(program: &str, directory: &Path, hub: &Path) -> String {
    let python = std::env::var_os("PEFT_PYTHON").expect("PEFT_PYTHON names a Python with peft");
    let output = Command::new(python)
        .args(["-c", program])
        .current_dir(directory)
        .env("HF_HOME", hub)
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Makes a cache of the hub in a folder, in which the tiny model has GPT-2's name.
pub fn make_hub(folder: &Path) {
    let cache = folder.join("hub/models--openai-community--gpt2");
    fs::create_dir_all(cache.join("refs")).unwrap();
    fs::write(cache.join("refs/main"), "abc").unwrap();
    let model = cache.join("snapshots/abc");
    Tokenizer::gpt2().save(&model, 96).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixtures().join("tiny").join(name), model.join(name)).unwrap();
    }
}

#[test]
#[ignore = "needs PEFT_PYTHON"]
fn programs_for_peft_and_transformers_print_the_prediction() {
    let (folder, adapter, card) = run_with_model_card();
    let folder = folder.path();
    let tiny = fixtures().join("tiny");
    let options = Predictor::options().device(Device::Cpu).base(tiny.to_str().unwrap());
    let classified = options.load(&adapter).unwrap().classify(["Are you home by six?"]).unwrap();
    let answer = classified[0].as_ref().unwrap();
    let expected = format!("{} {:.3}", answer.label, answer.confidence());
    make_hub(folder);
    let [for_peft, for_merged] = readme_programs();
    assert_eq!(printed(&for_peft, folder, folder), expected);
    let card = card.replace("path/to/tiny", tiny.to_str().unwrap());
    assert_eq!(printed(&card, &adapter, folder), expected);

    write_merged(&adapter, &options, &folder.join("runs/merged"), DType::Float32).unwrap();
    let classified = printed(&for_merged, folder, folder);
    let start = format!("[{{'label': '{}', 'score': ", answer.label);
    let score = classified.strip_prefix(&start).unwrap_or_else(|| panic!("{classified}"));
    let score: f64 = score.trim_end_matches("}]").parse().unwrap();
    assert!((score - answer.confidence()).abs() < 1e-5, "{classified}, {expected}");
}

#[test]
#[ignore = "needs PEFT_PYTHON"]
fn peft_and_transformers_compute_the_logits_of_runs() {
    for (data, options) in RUNS {
        let out = compare_forms(data, options);
        let [adapter, merged, logits] =
            ["adapter", "merged", "logits.json"].map(|name| out.path().join(name));
        run_python("check_merged.py", &[&merged, &logits]);
        run_python("check_peft.py", &[&fixtures().join("tiny"), &adapter, &logits]);
    }
}

/// PEFT computed the expected values (`tests/fixtures/make_runs.py`). A prediction determines
/// the differences between the logits of its classes.
#[test]
fn stored_runs_have_the_logits_of_peft() {
    let runs = fixtures().join("runs");
    let tiny = fixtures().join("tiny");
    let mut names: Vec<_> = fs::read_dir(&runs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = ["all-linear", "book", "dora", "fused", "head", "patterns", "q-v", "rslora"];
    assert_eq!(names, expected);
    for name in names {
        let folder = runs.join(&name);
        let golden: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("logits.json")).unwrap()).unwrap();
        let texts: Vec<String> = serde_json::from_value(golden["texts"].clone()).unwrap();
        let theirs: Vec<Vec<f64>> = serde_json::from_value(golden["logits"].clone()).unwrap();
        let options = Predictor::options().device(Device::Cpu).base(tiny.to_str().unwrap());
        let ours = options.load(&folder).unwrap().classify(&texts).unwrap();
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            let ours = &ours.as_ref().unwrap().probabilities;
            assert_eq!(ours.len(), theirs.len());
            for class in 1..theirs.len() {
                let ours = (ours[class] / ours[0]).ln();
                let theirs = theirs[class] - theirs[0];
                assert!((ours - theirs).abs() < 1e-5, "{name}: {ours}, {theirs}");
            }
        }
    }
}

/// Texts of many kinds, and the sample messages.
fn texts() -> Vec<String> {
    let sample = fixtures().join("../../datasets/sample/messages.tsv");
    let sample = fs::read_to_string(sample).unwrap();
    let kinds = [
        "I'm he'll they've WE'RE don't 'tis",
        "  two  spaces   and more    \n\n\tlines \r\n of   white space \u{a0}\u{3000}",
        "naïve café Ünïcödé ﬁne ½ № ™",
        "你好，世界。こんにちは 안녕하세요 Привет мир مرحبا שלום हिन्दी ไทย",
        "👍🏽 👨‍👩‍👧‍👦 🇩🇪 ☎️ e\u{301} \u{200d}\u{feff}",
        "1234567890 3.14159 0800-123 1,000,000 ٣٤٥",
        "fn main() { println!(\"{:?}\", x[0]); } // λ → ∞ != <= >= && ||",
        "\u{0}\u{1}\u{7f}\u{85} control",
        "https://example.com/a?b=c&d=%20#e user@example.com @@@ ### $$$ ___ ...",
        "SolidGoldMagikarp petertodd antidisestablishmentarianism",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa AAAAAAAA ------------------------",
        "",
        " ",
        "!",
    ];
    kinds.map(str::to_owned).into_iter().chain(sample.lines().map(str::to_owned)).collect()
}

/// transformers tokenizes with the files beside a merged model.
#[test]
#[ignore = "needs PEFT_PYTHON"]
fn transformers_tokenizes_like_this_project() {
    let out = train("messages.tsv", "");
    let merged = out.path().join("merged");
    let options = Predictor::options().device(Device::Cpu);
    write_merged(&out.path().join("adapter"), &options, &merged, DType::Float32).unwrap();
    let texts = texts();
    let ids: Vec<Vec<u32>> = texts.iter().map(|text| Tokenizer::gpt2().encode(text)).collect();
    let file = out.path().join("tokens.json");
    fs::write(&file, json!({"texts": texts, "ids": ids}).to_string()).unwrap();
    run_python("check_tokenizer.py", &[&merged, &file]);
}

#[test]
fn another_base_is_an_error_and_a_rounded_copy_a_note() {
    let out = train("messages.tsv", "");
    let adapter = out.path().join("adapter");
    let base = Gpt2::load(fixtures().join("tiny"), Device::Cpu).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let load = || Predictor::options().base(copy.path().to_str().unwrap()).load(&adapter);
    let digest_of_copy = || Gpt2::load(copy.path(), Device::Cpu).unwrap().digest().unwrap();
    let mut notes = 0;
    for dtype in DType::ALL {
        base.save(copy.path(), dtype).unwrap();
        let predictor = load().unwrap();
        let is_same = digest_of_copy() == base.digest().unwrap();
        assert_eq!(predictor.notes().is_empty(), is_same, "{dtype}");
        if let Some(note) = predictor.notes().first() {
            assert!(note.contains(&digest_of_copy()) && note.contains("float"), "{note}");
            notes += 1;
        }
    }
    assert!(notes > 0, "no data type rounds the base model");
    let other = Gpt2::random(base.config(), 5, Device::Cpu).unwrap();
    other.save(copy.path(), base.stored_dtype()).unwrap();
    let error = load().unwrap_err().to_string();
    let digests = [base.digest().unwrap(), digest_of_copy()];
    for words in [digests[0].as_str(), &digests[1], "--model", "base_digest"] {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn several_adapters_share_a_base() {
    let (spam, topics) = (train("messages.tsv", ""), train("three_labels.tsv", "--dora"));
    let folders = [spam.path().join("adapter"), topics.path().join("adapter")];
    let base = fixtures().join("tiny");
    let mut set = AdapterSet::load(base.to_str().unwrap(), Device::Cpu).unwrap();
    for (name, folder) in ["spam", "topics"].into_iter().zip(&folders) {
        set.add(name, folder).unwrap();
    }
    assert_eq!(set.names().collect::<Vec<_>>(), ["spam", "topics"]);
    for _ in 0..2 {
        for (name, folder) in ["spam", "topics"].into_iter().zip(&folders) {
            let ours = classify(set.get(name).unwrap());
            assert_same(&ours, &answers(folder), name);
        }
    }
    assert_eq!(set.get("topics").unwrap().labels().len(), 3);
    let error = set.get("news").unwrap_err().to_string();
    assert!(error.contains("\"news\"") && error.contains("\"spam\", \"topics\""), "{error}");
    assert!(set.add("spam", "nowhere").is_err());
    assert!(set.get("spam").is_ok() && set.remove("spam") && !set.remove("spam"));
}

#[test]
fn an_adapter_of_peft_is_used_as_it_is() {
    let peft = fixtures().join("peft");
    // As large as the model they were made for, but with all tokens.
    let mut config = Gpt2Config::from_file(&peft.join("base/config.json")).unwrap();
    config.vocab_size = 50_257;
    let folder = tempfile::tempdir().unwrap();
    let model = Gpt2::random(&config, 1, Device::Cpu).unwrap();
    model.save(folder.path(), DType::Float32).unwrap();
    let cases: serde_json::Value =
        serde_json::from_slice(&fs::read(peft.join("cases.json")).unwrap()).unwrap();
    let base = folder.path().to_str().unwrap();
    let load = |name: &str| Predictor::options().base(base).load(peft.join(name));
    for name in ["default", "all-linear", "rslora", "dora", "patterns", "regex"] {
        let classes = cases["cases"][name]["logits"][0].as_array().unwrap().len();
        assert_eq!(load(name).unwrap().labels().len(), classes, "{name}");
    }
    let error = load("no-head").unwrap_err().to_string();
    for words in ["no-head", "has no head", "modules_to_save"] {
        assert!(error.contains(words), "{error}");
    }
}
