//! The folder that results go to: whose it is, and what is in it already.

use std::fs;

use test_support::{World, fixture, pocket, run, run_and_signal, table, training};

#[test]
fn two_runs_do_not_work_in_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data.csv"), folder.path().join("out"));
    fs::write(&data, table()).unwrap();
    let arguments = |more: &str| {
        let mut all = training(&fixture("tiny"), &data, &out);
        all.extend(format!("--rank 2 --batch-size 8 {more}").split(' ').map(String::from));
        all
    };
    let mut others = 0;
    run_and_signal("trainer", arguments("--epochs 100000"), "KILL", || {
        if !out.join("metrics.jsonl").exists() {
            return false;
        }
        for more in ["--epochs 1", "--epochs 1 --resume", "--epochs 1 --seeds 1,2"] {
            let says = ["another run is at work", "--out"];
            run("trainer", arguments(more)).failed(&says);
            others += 1;
        }
        true
    });
    assert_eq!(others, 3);
    // The lock of a killed process is free.
    run("trainer", arguments("--epochs 1 --resume")).failed(&["epochs was 100000.0"]);
}

#[test]
fn two_pretrainings_do_not_work_in_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (text, out) = (folder.path().join("text.txt"), folder.path().join("out"));
    fs::write(&text, "Some words of a text.\n\nAnd some others.\n".repeat(20)).unwrap();
    let model = fixture("tiny");
    let arguments = |steps: &str| {
        let paths = [("--model", &model), ("--data", &text), ("--out", &out)];
        let paths = paths.map(|(name, path)| [name.to_owned(), path.display().to_string()]);
        let more = ["--steps", steps, "--max-length", "8"].map(String::from);
        ["pretrain".to_owned()].into_iter().chain(paths.into_iter().flatten()).chain(more)
    };
    let mut is_refused = false;
    run_and_signal("gpt2-lora", arguments("100000"), "KILL", || {
        if out.join("metrics.jsonl").exists() {
            run("gpt2-lora", arguments("1")).failed(&["another run is at work"]);
            is_refused = true;
        }
        is_refused
    });
    assert!(is_refused);
}

#[test]
fn foreign_files_are_not_overwritten() {
    for name in ["train.csv", "predictions.jsonl", "report.json", "adapter/adapter_config.json"] {
        let world = World::new();
        world.write(&format!("theirs/{name}"), "months of work\n");
        let first = name.split('/').next().unwrap();
        let says = format!("theirs/{first}: already exists");
        let train = "train --model model --data data.csv --out theirs --epochs 1";
        world.refuses(train, &[&says, "choose another --out"]);
    }
    let world = World::new();
    world.write("theirs/misclassified.jsonl", "months of work\n");
    let evaluate = "evaluate --model model --adapter adapter --data data.csv --out theirs";
    world.refuses(evaluate, &["theirs/misclassified.jsonl", "--out"]);
    // What is in nobody's way may stay.
    world.write("theirs/notes.txt", "months of work\n");
    let path = |name: &str| world.path(name).display().to_string();
    let [data, out] = [path("data.csv"), path("theirs")];
    let tiny = fixture("tiny").display().to_string();
    run("trainer", ["--model", &tiny, "--data", &data, "--out", &out, "--epochs", "1"]).succeeded();
    assert_eq!(world.read("theirs/notes.txt"), b"months of work\n");
}

#[test]
fn a_run_that_is_refused_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data.csv"), folder.path().join("deep/out"));
    fs::write(&data, "text,label\nsee you,ham\n").unwrap();
    run("trainer", training(&pocket(), &data, &out)).failed(&["data.csv"]);
    assert!(!folder.path().join("deep").exists());
}
