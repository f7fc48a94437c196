//! Adapters in the forms that others read: they answer as the run that made them.
//!
//! With `PEFT_PYTHON` set to a Python that has `peft` and `transformers`, these are
//! asked too.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

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
    inference::{Classified, write_merged},
    run,
};

fn fixtures() -> PathBuf {
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
    let (model, data) = (fixtures().join("tiny"), fixtures().join(data));
    let fixed = [
        "train",
        "--model",
        model.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
        "--out",
        folder.path().to_str().unwrap(),
        "--epochs",
        "2",
        "--lr",
        "0.005",
        "--rank",
        "3",
        "--alpha",
        "2.5",
    ];
    let all = fixed.into_iter().chain(options.split_whitespace());
    let args = Program::try_parse_from(all).unwrap().args;
    run(&args.resolve().unwrap(), &Control::default(), &mut ()).unwrap();
    folder
}

const TEXTS: [&str; 5] = [
    "WIN a free prize now, call 0800",
    "See you at home",
    "ok",
    "?",
    "Your account statement is ready; call now to claim 500 points",
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
fn rows_and_logits(folder: &Path) -> (Vec<Vec<i64>>, Tensor) {
    let body = Gpt2::load(folder, Device::Cpu).unwrap();
    let head = Gpt2Classifier::head_of(folder, &body).unwrap().unwrap();
    let model = Gpt2Classifier::with_head(body, Box::new(Linear::new(head, None)));
    let tokenizer = Tokenizer::gpt2();
    let encode = |text: &&str| tokenizer.encode(text).into_iter().map(i64::from).collect();
    let rows: Vec<Vec<i64>> = TEXTS.iter().filter(|text| !text.is_empty()).map(encode).collect();
    let lengths: Vec<i64> = rows.iter().map(|row| row.len() as i64).collect();
    let packed = PackedRows::new(&rows.concat(), &lengths, Device::Cpu).unwrap();
    let logits = model.forward_packed(&packed).unwrap();
    (rows, logits)
}

/// Runs a script of the fixtures, if there is a Python for it.
fn ask_python(script: &str, arguments: &[&Path]) {
    let Some(python) = std::env::var_os("PEFT_PYTHON") else {
        println!("{script} was not asked: PEFT_PYTHON names no Python");
        return;
    };
    let output =
        Command::new(python).arg(fixtures().join(script)).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{script}: {}", said.trim());
}

#[test]
fn saved_and_merged_adapters_answer_as_the_run() {
    for (data, options) in [
        ("messages.tsv", ""),
        ("messages.tsv", "--target-modules q,v"),
        ("messages.tsv", "--target-modules c_attn,score --scaling alpha-over-rank"),
        ("messages.tsv", "--scaling rslora --rank-pattern c_attn=5,h.1.mlp.c_fc=2"),
        ("messages.tsv", "--dora --alpha-pattern c_fc=4"),
        ("messages.tsv", "--init pissa"),
        ("messages.tsv", "--head full"),
        ("three_labels.tsv", "--head full --dora --target-modules k,c_proj"),
        ("three_labels.tsv", "--lora-dropout 0.2"),
    ] {
        let out = train(data, options);
        let (adapter, peft, merged) =
            (out.path().join("adapter"), out.path().join("peft"), out.path().join("merged"));
        let before = answers(&adapter);
        // What PEFT does not keep is not needed for the answers.
        fs::create_dir(&peft).unwrap();
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            fs::copy(adapter.join(file), peft.join(file)).unwrap();
        }
        let nameless = Predictor::load(&peft).unwrap();
        assert_eq!(nameless.labels()[0], "LABEL_0");
        let labels = nameless.labels().iter().map(|label| label.to_lowercase());
        let named = Predictor::options().labels(labels).load(&peft).unwrap();
        assert_eq!(named.labels()[0], "label_0");
        let ours = classify(&nameless);
        for (one, other) in before.iter().zip(&ours) {
            assert!((one.confidence() - other.confidence()).abs() < 1e-5, "{options}");
        }

        let cpu = Predictor::options().device(Device::Cpu);
        write_merged(&adapter, &cpu, &merged, DType::Float32).unwrap();
        assert_same(&before, &answers(&merged), options);
        let labels = labels_of(&merged).unwrap();
        assert_eq!(labels.len(), before[0].probabilities.len());
        let (rows, logits) = rows_and_logits(&merged);
        let filled = || before.iter().zip(TEXTS).filter(|(_, text)| !text.is_empty());
        let softmax = logits.softmax(-1, None);
        for (row, (answer, _)) in (0..).zip(filled()) {
            let class = labels.iter().position(|label| *label == answer.label).unwrap();
            let theirs = softmax.double_value(&[row, class as i64]);
            assert!((answer.confidence() - theirs).abs() < 1e-5, "{options}: {theirs}");
        }

        let values: Vec<Vec<f64>> = Vec::try_from(logits.to_kind(tch::Kind::Double)).unwrap();
        let golden = out.path().join("logits.json");
        let (labels_of_texts, texts): (Vec<_>, Vec<_>) =
            filled().map(|(answer, text)| (answer.label.clone(), text)).unzip();
        let all = json!({
            "ids": rows, "logits": values, "labels": labels,
            "texts": texts, "answers": labels_of_texts,
        });
        fs::write(&golden, all.to_string()).unwrap();
        ask_python("check_merged.py", &[&merged, &golden]);
        ask_python("check_peft.py", &[&fixtures().join("tiny"), &adapter, &golden]);
    }
}

/// Adapters of runs, and what PEFT computed with them (`tests/fixtures/make_runs.py`).
#[test]
fn peft_computes_the_probabilities_of_a_run() {
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
        let theirs: Vec<Vec<f64>> =
            serde_json::from_value(golden["probabilities"].clone()).unwrap();
        let options = Predictor::options().device(Device::Cpu).base(tiny.to_str().unwrap());
        let ours = options.load(&folder).unwrap().classify(&texts).unwrap();
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            let ours = &ours.as_ref().unwrap().probabilities;
            for (one, other) in ours.iter().zip(theirs) {
                assert!((one - other).abs() < 1e-5, "{name}: {one}, {other}");
            }
        }
    }
}

/// Texts of many kinds, and those of the sample.
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

/// `transformers` makes the tokens of this project of the files beside a merged model.
#[test]
fn the_tokenizer_of_a_merged_model_is_this_one() {
    let out = train("messages.tsv", "");
    let merged = out.path().join("merged");
    let options = Predictor::options().device(Device::Cpu);
    write_merged(&out.path().join("adapter"), &options, &merged, DType::Float32).unwrap();
    let texts = texts();
    let ids: Vec<Vec<u32>> = texts.iter().map(|text| Tokenizer::gpt2().encode(text)).collect();
    let file = out.path().join("tokens.json");
    fs::write(&file, json!({"texts": texts, "ids": ids}).to_string()).unwrap();
    ask_python("check_tokenizer.py", &[&merged, &file]);
}

#[test]
fn another_base_is_an_error_and_a_rounded_copy_a_note() {
    let out = train("messages.tsv", "");
    let adapter = out.path().join("adapter");
    let base = Gpt2::load(fixtures().join("tiny"), Device::Cpu).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let load = || Predictor::options().base(copy.path().to_str().unwrap()).load(&adapter);
    let digest_of_copy = || Gpt2::load(copy.path(), Device::Cpu).unwrap().digest().unwrap();
    for dtype in DType::ALL {
        base.save(copy.path(), dtype).unwrap();
        let predictor = load().unwrap();
        let is_same = digest_of_copy() == base.digest().unwrap();
        assert_eq!(predictor.notes().is_empty(), is_same, "{dtype}");
        if let Some(note) = predictor.notes().first() {
            assert!(note.contains(&digest_of_copy()) && note.contains("float"), "{note}");
        }
    }
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
    assert!(error.contains("\"news\"") && error.contains("spam, topics"), "{error}");
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
