//! Whole runs against independent implementations: `fixtures/reference.py` on the
//! messages of this repository, and the book's own program on the SMS Spam
//! Collection where its values lie beside the checkout.
//!
//! The fixtures' README says how far rounding alone moves their numbers.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use test_support::{
    fixture, read_json, read_jsonl, read_tensors, read_toml, run, run_on_threads, shared, training,
};

/// How far from the reference a run may be.
struct Tolerance {
    loss: f64,
    logit: f64,
    /// Of `A` and `B` after training.
    adapter: f32,
}

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

/// Compares all that the reference in `folder` knows with the results in `out`.
fn compare(out: &Path, folder: &Path, golden: &Value, tolerance: &Tolerance) {
    let metrics = read_jsonl(&out.join("metrics.jsonl"));
    let initial = &golden["initial_accuracy_10_batches"];
    for part in ["train", "validation", "test"] {
        close(&metrics[0][format!("{part}_accuracy")], &initial[part], 0.0, "initial accuracy");
    }
    let steps = events(&metrics, "step");
    let losses = golden["step_losses"].as_array().unwrap();
    assert_eq!(steps.len(), losses.len());
    for (step, loss) in steps.iter().zip(losses) {
        close(&step["loss"], loss, tolerance.loss, &format!("loss of step {}", step["step"]));
    }
    let order = golden["train_row_order_per_epoch"].as_array().unwrap();
    let order: Vec<&Value> = order.iter().flat_map(|epoch| epoch.as_array().unwrap()).collect();
    assert!(steps.iter().map(|step| &step["rows"]).eq(order), "the order of rows differs");

    let evals = events(&metrics, "eval");
    let expected = golden["evals"].as_array().unwrap();
    assert_eq!(evals.len(), expected.len());
    for (eval, expected) in evals.iter().zip(expected) {
        assert_eq!(eval["step"], expected["step"]);
        close(&eval["train_loss"], &expected["train_loss"], tolerance.loss, "train loss");
        close(&eval["validation_loss"], &expected["val_loss"], tolerance.loss, "validation loss");
    }
    let epochs = events(&metrics, "epoch");
    let expected = golden.get("epoch_accuracies").unwrap_or(&golden["epoch_accuracies_5_batches"]);
    let expected = expected.as_array().unwrap();
    assert_eq!(epochs.len(), expected.len());
    for (epoch, expected) in epochs.iter().zip(expected) {
        assert_eq!(epoch["epoch"], expected["epoch"]);
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
    let settings = read_toml(&out.join("run.toml"));
    assert_eq!(settings["max-length"].as_integer(), golden["max_length"].as_i64());

    let predictions = read_jsonl(&out.join("predictions.jsonl"));
    for (prediction, expected) in
        predictions.iter().zip(golden["final_logits_of_test_rows"].as_array().unwrap())
    {
        let (logits, expected) = (&prediction["logits"], expected.as_array().unwrap());
        assert_eq!(logits.as_array().map(Vec::len), Some(expected.len()));
        for (class, expected) in expected.iter().enumerate() {
            close(&logits[class], expected, tolerance.logit, "final logits");
        }
    }
    if golden.get("train").is_some() {
        // Base weights are trained: there is no adapter.
        same_model(&out.join("model/model.safetensors"), &golden["final_parameter_norms"]);
        return;
    }
    same_adapter(&folder.join("adapter_init.safetensors"), &out.join("adapter_init"), true, 1e-6);
    let last = folder.join("adapter_final.safetensors");
    same_adapter(&last, &out.join("adapter"), false, tolerance.adapter);
}

/// Compares the norms of the trained weights.
#[track_caller]
fn same_model(weights: &Path, norms: &Value) {
    let mut compared = 0;
    for (name, (_, values)) in read_tensors(weights) {
        let name = [
            ("transformer.", ""),
            ("h.", "trf_blocks."),
            ("attn.c_proj", "att.out_proj"),
            ("mlp.c_fc", "ff.layers.0"),
            ("mlp.c_proj", "ff.layers.2"),
            ("ln_1", "norm1"),
            ("ln_2", "norm2"),
            ("ln_f.weight", "final_norm.weight"),
            ("wte", "tok_emb"),
            ("wpe", "pos_emb"),
            ("score", "out_head"),
        ]
        .into_iter()
        .fold(name, |name, (ours, theirs)| name.replacen(ours, theirs, 1));
        // Query, key and value are one tensor here, and the norm's bias has the head's in it.
        let Some(expected) = norms.get(&name) else { continue };
        let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        close(&squares.sqrt().into(), expected, 1e-4, &name);
        compared += 1;
    }
    assert!(compared > 20, "only {compared} tensors were compared");
}

/// Demands that the parts came from these lines of the source.
fn same_split(out: &Path, rows: &Value) {
    let split = read_json(&out.join("split.json"));
    for part in ["train", "validation", "test"] {
        assert_eq!(split[part]["rows"], rows[part], "rows of {part}");
    }
}

/// Runs the trainer with the settings of a golden folder and compares all that
/// the reference knows.
fn check(folder: &str, data: &str, options: &str) {
    let folder = fixture(folder);
    let golden = read_json(&folder.join("golden.json"));
    let option = |name: &str| golden[name].to_string().trim_matches('"').to_owned();
    let mut all = format!("{options} --threads 1");
    for name in [
        "rank",
        "alpha",
        "scaling",
        "pooling",
        "lr",
        "weight_decay",
        "epochs",
        "seed",
        "batch_size",
        "eval_every",
        "eval_batches",
        "train",
    ] {
        if golden.get(name).is_none() {
            continue;
        }
        all += &format!(" --{} {}", name.replace('_', "-"), option(name));
    }
    let mut arguments = training(&fixture("tiny"), &fixture(data), Path::new("out"));
    arguments.extend(all.split_whitespace().map(String::from));
    let run = run("trainer", arguments).succeeded();
    let out = run.folder.path().join("out");
    compare(&out, &folder, &golden, &Tolerance { loss: 1e-5, logit: 1e-4, adapter: 1e-4 });
    same_split(&out, &golden["rows"]);
}

#[test]
fn the_book() {
    check("tiny", "messages.tsv", "--recipe book --quotes keep");
}

#[test]
fn the_book_in_fused_operations() {
    check("tiny", "messages.tsv", "--recipe book --quotes keep --arithmetic fused");
}

#[test]
fn pooled_at_the_last_token() {
    check("tiny/last-token", "messages.tsv", "");
}

/// As above, but padded as far as the reference pads: nothing may change.
#[test]
fn pooled_at_the_last_token_and_padded() {
    check("tiny/last-token", "messages.tsv", "--recipe book --quotes keep");
}

#[test]
fn rslora_in_small_batches() {
    check("tiny/rslora", "messages.tsv", "--recipe book");
}

#[test]
fn three_labels() {
    check("tiny/three-labels", "three_labels.tsv", "");
}

#[test]
fn rows_that_are_cut() {
    check("tiny/truncated", "messages.tsv", "--max-length 20");
}

#[test]
fn last_block() {
    check("tiny/last-block", "messages.tsv", "--recipe book --quotes keep");
}

#[test]
fn all_parameters() {
    check("tiny/all", "messages.tsv", "--recipe book --quotes keep");
}

/// The book's run on the SMS Spam Collection, as a user types it. Its values are
/// not part of this repository; the runs above compare the same things without
/// them.
fn the_book_on_sms_spam(threads: Option<&str>) {
    let (Some(reference), Some(data)) = (shared("reference"), shared("data/SMSSpamCollection"))
    else {
        println!("not run: there are no reference values in a folder `shared` beside the checkout");
        return;
    };
    let folder = reference.join("tiny-gpt2");
    let options = "--recipe book --rank 4 --alpha 4 --lr 0.005 --epochs 2 --out out";
    let mut arguments: Vec<String> = options.split(' ').map(String::from).collect();
    for (name, path) in [("--model", &folder), ("--data", &data)] {
        arguments.extend([name.to_owned(), path.display().to_string()]);
    }
    let run = run_on_threads(threads, "trainer", arguments).succeeded();
    let out = run.folder.path().join("out");
    let golden = read_json(&folder.join("golden.json"));
    // To the last bit on the machines that were tried. A library of matrix
    // products may still choose other kernels on another make of processor.
    compare(&out, &folder, &golden, &Tolerance { loss: 1e-4, logit: 1e-3, adapter: 1e-3 });
    same_split(&out, &read_json(&reference.join("split/rows.json")));
    for part in ["train.csv", "validation.csv", "test.csv"] {
        let read = |folder: PathBuf| fs::read_to_string(folder.join(part)).unwrap();
        assert!(read(out.clone()) == read(reference.join("split")), "{part} differs");
    }
}

#[test]
fn the_book_on_sms_spam_with_one_thread() {
    the_book_on_sms_spam(Some("1"));
}

#[test]
fn the_book_on_sms_spam_with_the_threads_of_the_machine() {
    the_book_on_sms_spam(None);
}
