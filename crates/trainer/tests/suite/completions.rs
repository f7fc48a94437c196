//! LoRA on prompts and completions against PyTorch, transformers and PEFT
//! (`tests/fixtures/make_completions_golden.py`), and packed against single examples.

use std::{collections::BTreeMap, fs, path::Path};

use clap::Parser;
use serde_json::Value;
use tch::Tensor;
use tempfile::TempDir;
use test_support::{fixture, read_json, read_jsonl};
use trainer::{Control, Report, TrainArgs, run};

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    args: TrainArgs,
}

/// A run on the golden data that begins with PEFT's adapter, with the settings of the golden run.
fn train(options: &str) -> (TempDir, Report) {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture("completions");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut all: Vec<String> = "train --task language-model --lr 0.002 --weight-decay 0.1 \
                                --eval-every 50"
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    for (option, value) in [
        ("--model", fixture("tiny")),
        ("--data", data.join("train.jsonl")),
        ("--validation-data", data.join("validation.jsonl")),
        ("--adapter", data.join("adapter_init")),
        ("--out", folder.path().to_owned()),
    ] {
        all.extend([option.to_owned(), path(&value)]);
    }
    all.extend(options.split_whitespace().map(str::to_owned));
    let args = Program::try_parse_from(all).unwrap().args;
    let report = run(&args.resolve().unwrap(), &Control::default(), &mut ()).unwrap();
    (folder, report)
}

fn steps(folder: &TempDir) -> Vec<Value> {
    let events = read_jsonl(&folder.path().join("metrics.jsonl"));
    events.into_iter().filter(|event| event["event"] == "step").collect()
}

fn losses(folder: &TempDir) -> Vec<f64> {
    steps(folder).iter().map(|event| event["loss"].as_f64().unwrap()).collect()
}

fn adapter(path: &Path) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

fn trained(folder: &TempDir) -> BTreeMap<String, Tensor> {
    adapter(&folder.path().join("adapter/adapter_model.safetensors"))
}

#[track_caller]
fn assert_close(found: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>) {
    assert!(found.keys().eq(expected.keys()), "{:?} and {:?}", found.keys(), expected.keys());
    for (name, expected) in expected {
        let difference = (&found[name] - expected).abs().max().double_value(&[]);
        assert!(difference <= 1e-5, "{name} is off by {difference}");
    }
}

#[test]
fn losses_and_adapters_equal_peft() {
    let golden = read_json(&fixture("completions/golden.json"));
    let expected: Vec<f64> =
        golden["losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
    assert_eq!(expected.len(), 100);
    for arithmetic in ["kernels", "fused"] {
        let (folder, report) =
            train(&format!("--steps 100 --batch-size 4 --arithmetic {arithmetic}"));
        let rows: Vec<Value> = steps(&folder).iter().map(|event| event["rows"].clone()).collect();
        assert_eq!(Value::from(rows), golden["rows"], "the order of PyTorch's DataLoader");
        for (step, (found, expected)) in losses(&folder).iter().zip(&expected).enumerate() {
            let difference = (found - expected).abs();
            assert!(difference <= 1e-4, "step {step} with {arithmetic} is off by {difference}");
        }
        assert_close(
            &trained(&folder),
            &adapter(&fixture("completions/adapter_final.safetensors")),
        );
        let model = report.language_model.unwrap();
        let validation = golden["validation_loss"].as_f64().unwrap();
        assert!((model.validation_loss - validation).abs() <= 1e-4, "{model:?}");
        let [before, after] = [model.before, model.after].map(|measures| measures.unwrap());
        assert_eq!(after.completions.unwrap().loss, model.validation_loss);
        assert!(before.all.perplexity > after.all.perplexity, "{model:?}");
    }
}

#[test]
fn packed_batches_equal_single_examples() {
    let (packed, _) = train("--steps 100 --batch-size 4");
    let (single, _) = train("--steps 100 --batch-size 1 --gradient-accumulation-steps 4");
    for (step, (packed, single)) in losses(&packed).iter().zip(losses(&single)).enumerate() {
        assert!((packed - single).abs() <= 1e-5, "step {step}: {packed} and {single}");
    }
    assert_close(&trained(&packed), &trained(&single));
    // The same in the other loss, in which prompts have a part.
    let (packed, _) = train("--steps 100 --batch-size 4 --loss-on all");
    let (single, _) =
        train("--steps 100 --batch-size 1 --gradient-accumulation-steps 4 --loss-on all");
    assert_close(&trained(&packed), &trained(&single));
}

#[test]
fn adapter_records_its_template_and_is_a_causal_lm_for_peft() {
    let (folder, _) = train("--batch-size 4 --steps 1");
    let metadata = read_json(&folder.path().join("adapter/gpt2_lora.json"));
    assert_eq!(metadata["prompts"]["schema"], "prompt-completion");
    assert_eq!(metadata["prompts"]["template"], "{{ prompt }}");
    let peft = read_json(&folder.path().join("adapter/adapter_config.json"));
    assert_eq!(peft["task_type"], "CAUSAL_LM");
    assert!(fs::read_to_string(folder.path().join("run.toml")).unwrap().contains("loss-on"));
}
