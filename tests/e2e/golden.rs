//! Whole runs against an independent implementation (`fixtures/reference.py`).
//!
//! The fixtures' README says how far rounding alone moves their numbers.

use std::{collections::BTreeMap, path::Path};

use e2e_tests::{fixture, read_json, read_jsonl, read_tensors, train};
use serde_json::Value;

/// The reference's name of a layer and ours.
fn layers(blocks: usize) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for block in 0..blocks {
        for (theirs, ours) in [
            ("att.W_query", "attn.c_attn.q"),
            ("att.W_key", "attn.c_attn.k"),
            ("att.W_value", "attn.c_attn.v"),
            ("att.out_proj", "attn.c_proj"),
            ("ff.layers.0", "mlp.c_fc"),
            ("ff.layers.2", "mlp.c_proj"),
        ] {
            all.push((format!("trf_blocks.{block}.{theirs}"), format!("h.{block}.{ours}")));
        }
    }
    all.push(("out_head".to_owned(), "score".to_owned()));
    all
}

fn transposed((shape, values): &(Vec<usize>, Vec<f32>)) -> (Vec<usize>, Vec<f32>) {
    let (rows, columns) = (shape[0], shape[1]);
    let cell = |index: usize| values[(index % rows) * columns + index / rows];
    (vec![columns, rows], (0..rows * columns).map(cell).collect())
}

#[track_caller]
fn same_adapter(theirs: &Path, ours: &Path, has_head: bool, tolerance: f32) {
    let (theirs, ours) =
        (read_tensors(theirs), read_tensors(&ours.join("adapter_model.safetensors")));
    let mut expected = BTreeMap::new();
    for (their_name, our_name) in layers(2) {
        for matrix in ["A", "B"] {
            let tensor = &theirs[&format!("{their_name}.lora.{matrix}")];
            expected.insert(format!("{our_name}.lora_{matrix}.weight"), transposed(tensor));
        }
    }
    for part in ["weight", "bias"] {
        if has_head {
            let tensor = theirs[&format!("out_head.{part}")].clone();
            expected.insert(format!("score.{part}"), tensor);
        }
    }
    if has_head {
        assert!(ours.keys().eq(expected.keys()), "{:?}", ours.keys());
    }
    for (name, (shape, values)) in expected {
        let (our_shape, our_values) = &ours[&name];
        assert_eq!(*our_shape, shape, "{name}");
        for (ours, theirs) in our_values.iter().zip(values) {
            assert!((ours - theirs).abs() <= tolerance, "{name}: {ours} and {theirs}");
        }
    }
}

#[track_caller]
fn close(ours: &Value, theirs: &Value, tolerance: f64, what: &str) {
    let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
    assert!((ours - theirs).abs() <= tolerance, "{what}: {ours}, the reference has {theirs}");
}

/// Events of one kind.
fn events<'a>(metrics: &'a [Value], kind: &str) -> Vec<&'a Value> {
    metrics.iter().filter(|event| event["event"] == kind).collect()
}

/// Runs the trainer with the settings of a golden folder and compares all that
/// the reference knows.
fn check(folder: &str, options: &str) {
    let folder = fixture(folder);
    let golden = read_json(&folder.join("golden.json"));
    let option = |name: &str| golden[name].to_string().trim_matches('"').to_owned();
    let mut all = options.to_owned();
    for name in
        ["rank", "alpha", "scaling", "pooling", "lr", "epochs", "seed", "batch_size", "eval_every"]
    {
        all += &format!(" --{} {}", name.replace('_', "-"), option(name));
    }
    all += &format!(" --weight-decay {}", option("weight_decay"));
    all += &format!(" --eval-batches {} --threads 1", option("eval_batches"));
    let run = train(&all).succeeded();
    let out = run.folder.path().join("out");
    let metrics = read_jsonl(&out.join("metrics.jsonl"));

    let initial = &golden["initial_accuracy_10_batches"];
    for part in ["train", "validation", "test"] {
        close(&metrics[0][format!("{part}_accuracy")], &initial[part], 0.0, "initial accuracy");
    }
    let steps = events(&metrics, "step");
    let losses = golden["step_losses"].as_array().unwrap();
    assert_eq!(steps.len(), losses.len());
    for (step, loss) in steps.iter().zip(losses) {
        close(&step["loss"], loss, 1e-5, &format!("loss of step {}", step["step"]));
    }
    let order = golden["train_row_order_per_epoch"].as_array().unwrap();
    let order: Vec<&Value> = order.iter().flat_map(|epoch| epoch.as_array().unwrap()).collect();
    assert!(steps.iter().map(|step| &step["rows"]).eq(order), "the order of rows differs");

    let evals = events(&metrics, "eval");
    let expected = golden["evals"].as_array().unwrap();
    assert_eq!(evals.len(), expected.len());
    for (eval, expected) in evals.iter().zip(expected) {
        assert_eq!(eval["step"], expected["step"]);
        close(&eval["train_loss"], &expected["train_loss"], 1e-5, "train loss");
        close(&eval["validation_loss"], &expected["val_loss"], 1e-5, "validation loss");
    }
    for (epoch, expected) in
        events(&metrics, "epoch").iter().zip(golden["epoch_accuracies"].as_array().unwrap())
    {
        close(&epoch["train_accuracy"], &expected["train"], 0.0, "epoch accuracy");
        close(&epoch["validation_accuracy"], &expected["validation"], 0.0, "epoch accuracy");
    }
    let last = metrics.last().unwrap();
    let accuracy = &golden["final_accuracy"];
    close(&last["train_accuracy"], &accuracy["train_drop_last"], 0.0, "final accuracy");
    close(&last["validation_accuracy"], &accuracy["validation"], 0.0, "final accuracy");
    close(&last["test_accuracy"], &accuracy["test"], 0.0, "final accuracy");
    assert_eq!(last["total_parameters"], golden["params_before"]);
    assert_eq!(last["trainable_parameters"], golden["trainable_after"]);

    let predictions = read_jsonl(&out.join("predictions.jsonl"));
    let logits = golden["final_logits_of_test_rows"].as_array().unwrap();
    for (prediction, expected) in predictions.iter().zip(logits) {
        for class in 0..2 {
            close(&prediction["logits"][class], &expected[class], 1e-4, "final logits");
        }
    }
    same_adapter(&folder.join("adapter_init.safetensors"), &out.join("adapter_init"), true, 1e-6);
    same_adapter(&folder.join("adapter_final.safetensors"), &out.join("adapter"), false, 1e-4);

    let split = read_json(&out.join("split.json"));
    for part in ["train", "validation", "test"] {
        assert_eq!(split[part]["rows"], golden["rows"][part], "rows of {part}");
    }
}

#[test]
fn the_book() {
    check("tiny", "--recipe book --quotes keep");
}

#[test]
fn pooled_at_the_last_token() {
    check("tiny/last-token", "");
}

/// As above, but padded as far as the reference pads: nothing may change.
#[test]
fn pooled_at_the_last_token_and_padded() {
    check("tiny/last-token", "--recipe book --quotes keep");
}

#[test]
fn rslora_in_small_batches() {
    check("tiny/rslora", "--recipe book");
}

#[test]
fn rows_that_are_cut() {
    check("tiny/truncated", "--max-length 20");
}
