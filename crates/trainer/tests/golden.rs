//! Logits and first gradients against independent implementations: those of
//! `tests/fixtures/reference.py`, and the book's own program where its values lie
//! in a folder `shared` beside the checkout. What a whole run writes is compared
//! in the end-to-end tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use dataset::{
    Batch, DataLoader, Example, LabeledText, Padding, Quotes, Split, SplitConfig, TokenizedSet,
    TokenizedSplit, Tokenizer, TorchRng,
};
use gpt2_model::{Gpt2, Gpt2Classifier, Pooling};
use lora::{Injector, LoraConfig, Scaling, Targets};
use serde_json::Value;
use tch::{Device, Tensor};
use trainer::{Evaluator, Loaders, TrainingSettings, adapt, config::PadTo};

/// A model, messages, and what the reference made of them.
struct Case {
    model: PathBuf,
    golden: Value,
    split: Split,
    scaling: Scaling,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn case(model: PathBuf, golden: &Path, data: &Path, quotes: Quotes) -> Case {
    let golden: Value =
        serde_json::from_str(&fs::read_to_string(golden.join("golden.json")).unwrap()).unwrap();
    let seed = u32::try_from(golden["seed"].as_u64().unwrap()).unwrap();
    let config = SplitConfig { seed, quotes, ..SplitConfig::default() };
    let split = LabeledText::open(data).unwrap().read().unwrap().split(&config).unwrap();
    // The book's program knows one scaling.
    let scaling = serde_json::from_value(golden["scaling"].clone()).unwrap_or(Scaling::Alpha);
    Case { model, golden, split, scaling }
}

fn cases() -> Vec<Case> {
    let fixtures = root().join("tests/fixtures");
    let tiny = fixtures.join("tiny");
    let of_fixture = |golden: &str, data: &str| {
        case(tiny.clone(), &tiny.join(golden), &fixtures.join(data), Quotes::Keep)
    };
    let mut cases =
        vec![of_fixture("", "messages.tsv"), of_fixture("three-labels", "three_labels.tsv")];
    let shared = root().join("../shared");
    let (book, data) = (shared.join("reference/tiny-gpt2"), shared.join("data/SMSSpamCollection"));
    if book.is_dir() && data.is_file() {
        cases.push(case(book.clone(), &book, &data, Quotes::Strip));
    } else {
        println!("without the book's own values: no folder `shared` is beside the checkout");
    }
    cases
}

#[track_caller]
fn close(ours: f64, theirs: &Value, tolerance: f64, what: &str) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() <= tolerance, "{what}: {ours}, the reference has {theirs}");
}

#[track_caller]
fn all_close(ours: &Tensor, theirs: &Value, what: &str) {
    let ours = Vec::<f64>::try_from(ours.to_kind(tch::Kind::Double)).unwrap();
    let theirs = theirs.as_array().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        close(*ours, theirs, 1e-4, what);
    }
}

impl Case {
    fn body(&self) -> Gpt2 {
        Gpt2::load(&self.model, Device::Cpu).unwrap()
    }

    fn rng(&self) -> TorchRng {
        TorchRng::manual_seed(self.golden["seed"].as_u64().unwrap())
    }

    fn classifier(&self) -> Gpt2Classifier {
        Gpt2Classifier::new(self.body(), self.split.labels.len(), &mut self.rng()).unwrap()
    }

    fn settings(&self) -> TrainingSettings {
        let pooling = serde_json::from_value(self.golden["pooling"].clone());
        TrainingSettings {
            pooling: pooling.unwrap_or(Pooling::LastPosition),
            pad_to: Some(PadTo::MaxLength),
            ..TrainingSettings::default()
        }
    }

    fn splits(&self) -> TokenizedSplit {
        let max_length = usize::try_from(self.golden["max_length"].as_u64().unwrap()).unwrap();
        let encode =
            |rows: &[Example]| TokenizedSet::new(rows, &Tokenizer::gpt2(), Some(max_length));
        TokenizedSplit {
            labels: self.split.labels.clone(),
            train: encode(&self.split.train),
            validation: encode(&self.split.validation),
            test: encode(&self.split.test),
            max_length,
        }
    }
}

#[test]
fn the_language_model() {
    for case in cases() {
        let model = case.body();
        for prompt in case.golden["lm"].as_array().unwrap() {
            let text = prompt["text"].as_str().unwrap();
            let ids = Tokenizer::gpt2().encode(text);
            assert_eq!(serde_json::to_value(&ids).unwrap(), prompt["ids"]);
            let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
            let ids = Tensor::from_slice(&ids).view([1, -1]);
            let logits = tch::no_grad(|| model.lm_logits(&ids)).unwrap().squeeze_dim(0);
            let last = logits.select(0, -1);
            all_close(&last.narrow(0, 0, 16), &prompt["last_logits_first16"], text);
            let (values, top) = last.topk(5, 0, true, true);
            let top = Vec::<i64>::try_from(top).unwrap();
            assert_eq!(serde_json::to_value(top).unwrap(), prompt["last_top5_ids"], "{text}");
            all_close(&values, &prompt["last_top5_logits"], text);
            all_close(&logits.logsumexp(-1, false), &prompt["logsumexp"], text);
        }
    }
}

#[test]
fn the_new_head() {
    for case in cases() {
        let (model, splits) = (case.classifier(), case.splits());
        let loader =
            DataLoader::new(&splits.test, 1, Padding::To(splits.max_length), false, false).unwrap();
        let rows = case.golden["base_logits_of_test_rows"].as_array().unwrap();
        assert_eq!(rows.len(), 4);
        for (batch, row) in loader.iter(&mut case.rng()).zip(rows) {
            assert_eq!(batch.row_numbers, [row["test_row"].as_u64().unwrap() as usize]);
            assert_eq!(batch.lengths, [row["length"].as_i64().unwrap()]);
            for (pooling, name) in [
                (Pooling::LastPosition, "logits_at_last_padded_position"),
                (Pooling::LastToken, "logits_at_last_real_token"),
            ] {
                let evaluator = Evaluator { model: &model, pooling };
                let logits = tch::no_grad(|| evaluator.logits(&batch)).unwrap();
                all_close(&logits.squeeze_dim(0), &row[name], name);
            }
        }
    }
}

/// The name that the reference has for an adapter's matrix.
fn reference_name(ours: &str) -> String {
    let mut name = ours.replace(".weight", "").replace(".lora_", ".lora.");
    for (ours, theirs) in [
        ("attn.c_attn.q", "att.W_query"),
        ("attn.c_attn.k", "att.W_key"),
        ("attn.c_attn.v", "att.W_value"),
        ("attn.c_proj", "att.out_proj"),
        ("mlp.c_fc", "ff.layers.0"),
        ("mlp.c_proj", "ff.layers.2"),
        ("score", "out_head"),
        ("h.", "trf_blocks."),
    ] {
        if ours != "h." || name.starts_with(ours) {
            name = name.replacen(ours, theirs, 1);
        }
    }
    name
}

#[test]
fn gradients_of_the_first_step() {
    for case in cases() {
        let (mut model, splits, settings) = (case.classifier(), case.splits(), case.settings());
        // The adapter's draws follow those of the first accuracies.
        let mut rng = case.rng();
        let loaders = Loaders::new(&splits, &settings).unwrap();
        let evaluator = Evaluator { model: &model, pooling: settings.pooling };
        let accuracies = loaders.accuracies(evaluator, 10, &mut rng).unwrap();
        let initial = &case.golden["initial_accuracy_10_batches"];
        close(accuracies.train, &initial["train"], 0.0, "accuracy before training");

        let lora = LoraConfig {
            rank: case.golden["rank"].as_i64().unwrap(),
            alpha: case.golden["alpha"].as_f64().unwrap(),
            scaling: case.scaling,
            targets: Targets::AllLinear,
            ..LoraConfig::default()
        };
        let adapter = adapt(&mut model, Injector::new(lora, &mut rng).unwrap()).unwrap();
        let first: Batch =
            DataLoader::new(&splits.train, 8, Padding::To(splits.max_length), true, true)
                .unwrap()
                .iter(&mut case.rng())
                .next()
                .unwrap();
        let evaluator = Evaluator { model: &model, pooling: settings.pooling };
        let loss = evaluator.loss(&first).unwrap();
        close(loss.double_value(&[]), &case.golden["step_losses"][0], 1e-5, "the first loss");
        loss.backward();

        let norms = case.golden["first_step_grad_norms"].as_object().unwrap();
        let ours: BTreeMap<String, f64> = adapter
            .named_parameters()
            .into_iter()
            .map(|(name, p)| (reference_name(&name), p.grad().norm().double_value(&[])))
            .collect();
        assert!(ours.keys().eq(norms.keys().collect::<std::collections::BTreeSet<_>>()));
        for (name, norm) in ours {
            close(norm, &norms[&name], 1e-4, &name);
        }
    }
}
