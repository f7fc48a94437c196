//! Whole runs against independent implementations: `fixtures/reference.py` on the messages of
//! this repository, and the book's own program on the SMS Spam Collection.
//!
//! `fixtures/README.md` gives the differences that rounding alone makes.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use test_support::{
    book_reference, fixture, read_json, read_jsonl, read_tensors, read_toml, run, run_on_threads,
    training,
};

/// Accepted differences from the reference.
struct Tolerance {
    loss: f64,
    logit: f64,
    /// `A` and `B` after training.
    adapter: f32,
}

/// Shape and values of a matrix.
type Matrix = (Vec<usize>, Vec<f32>);

fn transposed((shape, values): &Matrix) -> Matrix {
    let (rows, columns) = (shape[0], shape[1]);
    let cell = |index: usize| values[(index % rows) * columns + index / rows];
    (vec![columns, rows], (0..rows * columns).map(cell).collect())
}

/// `A`s on top of each other, or `B`s along a diagonal.
fn joined(matrices: &[Matrix], diagonal: bool) -> Matrix {
    let rows = matrices.iter().map(|(shape, _)| shape[0]).sum();
    let columns = matrices.iter().map(|(shape, _)| shape[1]);
    let columns: usize = if diagonal { columns.sum() } else { columns.max().unwrap() };
    let (mut values, mut before) = (Vec::new(), 0);
    for (shape, part) in matrices {
        for row in part.chunks(shape[1]) {
            let left = if diagonal { before } else { 0 };
            values.extend(vec![0.0; left]);
            values.extend(row);
            values.extend(vec![0.0; columns - left - shape[1]]);
        }
        before += shape[1];
    }
    (vec![rows, columns], values)
}

/// The adapter of the reference as PEFT has it: query, key and value in one, the adapter of
/// the head merged into the weight `head`.
fn fused(theirs: &Path, head: &Matrix, factor: f32) -> BTreeMap<String, Matrix> {
    let theirs = read_tensors(theirs);
    let matrix = |name: &str, matrix: &str| transposed(&theirs[&format!("{name}.lora.{matrix}")]);
    let mut all = BTreeMap::new();
    for block in 0..2 {
        for (parts, ours) in [
            (&["att.W_query", "att.W_key", "att.W_value"][..], "attn.c_attn"),
            (&["att.out_proj"], "attn.c_proj"),
            (&["ff.layers.0"], "mlp.c_fc"),
            (&["ff.layers.2"], "mlp.c_proj"),
        ] {
            for letter in ["A", "B"] {
                let parts: Vec<Matrix> = parts
                    .iter()
                    .map(|part| matrix(&format!("trf_blocks.{block}.{part}"), letter))
                    .collect();
                let name = format!("{ROOT}transformer.h.{block}.{ours}.lora_{letter}.weight");
                all.insert(name, joined(&parts, letter == "B"));
            }
        }
    }
    let (a, b) = (matrix("out_head", "A"), matrix("out_head", "B"));
    let (rank, width) = (a.0[0], a.0[1]);
    let cell = |index: usize| {
        let (row, column) = (index / width, index % width);
        let product: f32 = (0..rank).map(|k| b.1[row * rank + k] * a.1[k * width + column]).sum();
        head.1[index] + factor * product
    };
    let merged = (head.0.clone(), (0..head.1.len()).map(cell).collect());
    all.insert(format!("{ROOT}score.weight"), merged);
    all
}

const ROOT: &str = "base_model.model.";

#[track_caller]
fn same_adapter(expected: &BTreeMap<String, Matrix>, ours: &Path, tolerance: f32) {
    let ours = read_tensors(&ours.join("adapter_model.safetensors"));
    // The bias of the head is in the final norm.
    let norm = ["weight", "bias"].map(|name| format!("{ROOT}transformer.ln_f.{name}"));
    let mut names: Vec<&String> = expected.keys().chain(&norm).collect();
    names.sort();
    assert!(ours.keys().eq(names), "{:?}", ours.keys());
    for (name, (shape, values)) in expected {
        let (our_shape, our_values) = &ours[name];
        assert_eq!(our_shape, shape, "{name}");
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

/// Compares the results in `out` with the reference in `folder`.
fn compare(out: &Path, folder: &Path, golden: &Value, tolerance: &Tolerance) {
    let metrics = read_jsonl(&out.join("metrics.jsonl"));
    let initial = &golden["initial_accuracy_10_batches"];
    for set in ["train", "validation", "test"] {
        close(&metrics[0][format!("{set}_accuracy")], &initial[set], 0.0, "initial accuracy");
    }
    let steps = events(&metrics, "step");
    let losses = golden["step_losses"].as_array().unwrap();
    assert_eq!(steps.len(), losses.len());
    for (step, loss) in steps.iter().zip(losses) {
        close(&step["loss"], loss, tolerance.loss, &format!("loss of step {}", step["step"]));
    }
    let order = golden["train_row_order_per_epoch"].as_array().unwrap();
    let order: Vec<&Value> = order.iter().flat_map(|epoch| epoch.as_array().unwrap()).collect();
    assert!(steps.iter().map(|step| &step["rows"]).eq(order), "the order of examples differs");

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
    let expected = golden["final_logits_of_test_rows"].as_array().unwrap();
    // The reference has the logits of at most 16 examples.
    assert_eq!(predictions.len().min(16), expected.len());
    for (prediction, expected) in predictions.iter().zip(expected) {
        let (logits, expected) = (&prediction["logits"], expected.as_array().unwrap());
        assert_eq!(logits.as_array().map(Vec::len), Some(expected.len()));
        for (class, expected) in expected.iter().enumerate() {
            close(&logits[class], expected, tolerance.logit, "final logits");
        }
    }
    if golden.get("train").is_some() {
        // Base weights are trained, without an adapter.
        same_model(&out.join("model/model.safetensors"), &golden["final_parameter_norms"]);
        return;
    }
    let initial = folder.join("adapter_init.safetensors");
    let tensors = read_tensors(&initial);
    let [head, bias] = ["weight", "bias"].map(|name| &tensors[&format!("out_head.{name}")]);
    let of = |name: &str| golden[name].as_f64().unwrap();
    let factor = match golden["scaling"].as_str() {
        Some("alpha-over-rank") => of("alpha") / of("rank"),
        Some("rslora") => of("alpha") / of("rank").sqrt(),
        _ => of("alpha"),
    };
    same_adapter(&fused(&initial, head, factor as f32), &out.join("adapter_init"), 1e-6);
    let last = fused(&folder.join("adapter_final.safetensors"), head, factor as f32);
    same_adapter(&last, &out.join("adapter"), tolerance.adapter * factor.max(1.0) as f32);
    let metadata = read_json(&out.join("adapter/gpt2_lora.json"));
    let head_bias = metadata["head_bias"].as_array().unwrap();
    assert_eq!(head_bias.len(), bias.1.len());
    for (ours, theirs) in head_bias.iter().zip(&bias.1) {
        close(ours, &(*theirs).into(), 1e-6, "bias of the head");
    }
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

/// Asserts that the split has these lines of the source.
fn same_split(out: &Path, rows: &Value) {
    let split = read_json(&out.join("split.json"));
    for set in ["train", "validation", "test"] {
        assert_eq!(split[set]["rows"], rows[set], "rows of {set}");
    }
}

/// Runs the trainer with the settings of a golden folder and compares the results.
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
fn book_recipe_equals_the_reference() {
    check("tiny", "messages.tsv", "--recipe book --quotes keep");
}

#[test]
fn fused_operations_equal_the_reference() {
    check("tiny", "messages.tsv", "--recipe book --quotes keep --arithmetic fused");
}

#[test]
fn last_token_pooling_equals_the_reference() {
    check("tiny/last-token", "messages.tsv", "");
}

/// As above, but padded as far as the reference pads: nothing may change.
#[test]
fn pooled_at_the_last_token_and_padded() {
    check("tiny/last-token", "messages.tsv", "--recipe book --quotes keep");
}

#[test]
fn rslora_equals_the_reference() {
    check("tiny/rslora", "messages.tsv", "--recipe book");
}

#[test]
fn three_classes_equal_the_reference() {
    check("tiny/three-labels", "three_labels.tsv", "");
}

#[test]
fn truncated_texts_equal_the_reference() {
    check("tiny/truncated", "messages.tsv", "--max-length 20");
}

#[test]
fn last_block_equals_the_reference() {
    check("tiny/last-block", "messages.tsv", "--recipe book --quotes keep");
}

#[test]
fn all_parameters_equal_the_reference() {
    check("tiny/all", "messages.tsv", "--recipe book --quotes keep");
}

/// Runs the book's recipe on the SMS Spam Collection and compares it with the book's program.
fn compare_with_book(threads: Option<&str>) {
    let (folder, split) =
        (book_reference("reference/tiny-gpt2"), book_reference("reference/split"));
    let options = "--recipe book --rank 4 --alpha 4 --lr 0.005 --epochs 2 --out out";
    let mut arguments: Vec<String> = options.split(' ').map(String::from).collect();
    let data = book_reference("data/SMSSpamCollection");
    for (name, path) in [("--model", &folder), ("--data", &data)] {
        arguments.extend([name.to_owned(), path.display().to_string()]);
    }
    let run = run_on_threads(threads, "trainer", arguments).succeeded();
    let out = run.folder.path().join("out");
    let golden = read_json(&folder.join("golden.json"));
    // Equal to the last bit on the machines that were tried. A library of matrix products may
    // choose other kernels on another processor.
    compare(&out, &folder, &golden, &Tolerance { loss: 1e-4, logit: 1e-3, adapter: 1e-3 });
    same_split(&out, &read_json(&split.join("rows.json")));
    for name in ["train.csv", "validation.csv", "test.csv"] {
        let read = |folder: &Path| fs::read_to_string(folder.join(name)).unwrap();
        assert!(read(&out) == read(&split), "{name} differs");
    }
}

#[test]
#[ignore = "needs BOOK_REFERENCE"]
fn run_equals_the_book_on_one_thread() {
    compare_with_book(Some("1"));
}

#[test]
#[ignore = "needs BOOK_REFERENCE"]
fn run_equals_the_book_on_all_threads() {
    compare_with_book(None);
}
