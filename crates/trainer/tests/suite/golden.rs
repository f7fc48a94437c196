//! Logits and first gradients against independent implementations: `tests/fixtures/reference.py`,
//! and the book's own program. The end-to-end tests compare whole runs.

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
use test_support::{book_reference, fixture};
use trainer::{Evaluator, Loaders, TrainingSettings, adapt, config::PadTo};

/// A model, messages, and what the reference made of them.
struct Case {
    model: PathBuf,
    golden: Value,
    split: Split,
    scaling: Scaling,
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

/// Reference values of this repository.
fn cases() -> [Case; 2] {
    let tiny = fixture("tiny");
    let of_fixture = |golden: &str, data: &str| {
        case(tiny.clone(), &tiny.join(golden), &fixture(data), Quotes::Keep)
    };
    [of_fixture("", "messages.tsv"), of_fixture("three-labels", "three_labels.tsv")]
}

/// Reference values of the book's own program.
fn book() -> Case {
    let folder = book_reference("reference/tiny-gpt2");
    case(folder.clone(), &folder, &book_reference("data/SMSSpamCollection"), Quotes::Strip)
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

    /// Compares the logits of the language model.
    fn compare_language_model(&self) {
        let model = self.body();
        for prompt in self.golden["lm"].as_array().unwrap() {
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

    /// Compares the logits of the randomly initialized head.
    fn compare_new_head(&self) {
        let (model, splits) = (self.classifier(), self.splits());
        let loader =
            DataLoader::new(&splits.test, 1, Padding::To(splits.max_length), false, false).unwrap();
        let rows = self.golden["base_logits_of_test_rows"].as_array().unwrap();
        assert_eq!(rows.len(), 4);
        for (batch, row) in loader.iter(&mut self.rng()).zip(rows) {
            assert_eq!(batch.row_numbers, [row["test_row"].as_u64().unwrap() as usize]);
            assert_eq!(batch.lengths, [row["length"].as_i64().unwrap()]);
            for (pooling, name) in [
                (Pooling::LastPosition, "logits_at_last_padded_position"),
                (Pooling::LastToken, "logits_at_last_real_token"),
            ] {
                let evaluator = Evaluator::new(&model, pooling);
                let logits = tch::no_grad(|| evaluator.logits(&batch)).unwrap();
                all_close(&logits.squeeze_dim(0), &row[name], name);
            }
        }
    }

    /// Compares loss and gradients of the first step.
    fn compare_first_gradients(&self) {
        let (mut model, splits, settings) = (self.classifier(), self.splits(), self.settings());
        // The adapter is initialized after the shuffling for the first accuracies.
        let mut rng = self.rng();
        let loaders = Loaders::new(&splits, &settings).unwrap();
        let evaluator = Evaluator::new(&model, settings.pooling);
        let accuracies = loaders.accuracies(evaluator, 10, &mut rng).unwrap();
        let initial = &self.golden["initial_accuracy_10_batches"];
        close(accuracies.train, &initial["train"], 0.0, "accuracy before training");

        let lora = LoraConfig {
            rank: self.golden["rank"].as_i64().unwrap(),
            alpha: self.golden["alpha"].as_f64().unwrap(),
            scaling: self.scaling,
            targets: Targets::AllLinear,
            ..LoraConfig::default()
        };
        let adapter = adapt(&mut model, Injector::new(lora, &mut rng).unwrap()).unwrap();
        let first: Batch =
            DataLoader::new(&splits.train, 8, Padding::To(splits.max_length), true, true)
                .unwrap()
                .iter(&mut self.rng())
                .next()
                .unwrap();
        let evaluator = Evaluator::new(&model, settings.pooling);
        let loss = evaluator.loss(&first).unwrap();
        close(loss.double_value(&[]), &self.golden["step_losses"][0], 1e-5, "the first loss");
        loss.backward();

        let norms = self.golden["first_step_grad_norms"].as_object().unwrap();
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
fn language_model_logits_equal_the_reference() {
    cases().iter().for_each(Case::compare_language_model);
}

#[test]
fn new_head_logits_equal_the_reference() {
    cases().iter().for_each(Case::compare_new_head);
}

#[test]
fn first_gradients_equal_the_reference() {
    cases().iter().for_each(Case::compare_first_gradients);
}

#[test]
#[ignore = "needs BOOK_REFERENCE"]
fn logits_and_first_gradients_equal_the_book() {
    let book = book();
    book.compare_language_model();
    book.compare_new_head();
    book.compare_first_gradients();
}
