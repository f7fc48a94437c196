//! `train --dry-run`.

use std::fs;

use serde_json::Value;
use test_support::{fixture, read_json, read_toml, run, table, training};

#[test]
fn dry_run_matches_the_run_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data.csv"), folder.path().join("out"));
    fs::write(&data, table()).unwrap();
    let arguments = |options: &str| {
        let mut all = training(&fixture("tiny"), &data, &out);
        let options = format!("--rank 2 --batch-size 8 --epochs 2 --keep best {options}");
        all.extend(options.split_whitespace().map(String::from));
        all
    };
    let text = run("trainer", arguments("--dry-run")).succeeded().stdout();
    for words in ["rank = 2", "training", "validation", "ham", "trainable (", "Time", "Memory"] {
        assert!(text.contains(words), "{words:?} is missing: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 200), "{text}");
    let json = run("trainer", arguments("--dry-run --json")).succeeded().stdout();
    let dry: Value = serde_json::from_str(&json).unwrap();
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap()).collect();
    assert_eq!(names.len(), 1, "{names:?}");

    run("trainer", arguments("")).succeeded();
    let report = read_json(&out.join("report.json"));
    for name in ["total_parameters", "trainable_parameters", "steps"] {
        assert_eq!(dry[name], report[name], "{name}");
    }
    for (index, split) in ["train", "validation", "test"].into_iter().enumerate() {
        let found = &dry["data"]["splits"][index];
        assert_eq!(found["examples"], report["examples"][split], "{split}");
        assert_eq!(found["truncated"], report["truncated"][split], "{split}");
        for (class, counts) in report["classes"].as_array().unwrap().iter().enumerate() {
            assert_eq!(found["classes"][class]["label"], counts["label"]);
            assert_eq!(found["classes"][class]["examples"], counts[split], "{split}");
        }
    }
    let settings = serde_json::to_value(read_toml(&out.join("run.toml"))).unwrap();
    assert_eq!(dry["settings"], settings);
    let estimate = &dry["estimate"];
    assert!(estimate["measured_steps"].as_u64().unwrap() >= 1, "{estimate}");
    for name in ["seconds_per_step", "training_seconds", "evaluation_seconds", "seconds"] {
        assert!(estimate[name].as_f64().unwrap() > 0.0, "{estimate}");
    }
    // A finished run is not overwritten, which the dry run reports too.
    run("trainer", arguments("--dry-run")).failed(&["report.json", "--out"]);
}

#[test]
fn dry_run_of_a_language_model_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (text, out) = (folder.path().join("text.txt"), folder.path().join("out"));
    fs::write(&text, "Some words of a text.\n\nAnd some others.\n".repeat(40)).unwrap();
    let mut arguments = vec!["pretrain".to_owned()];
    for (name, path) in [("--model", &fixture("tiny")), ("--data", &text), ("--out", &out)] {
        arguments.extend([name.to_owned(), path.display().to_string()]);
    }
    let options = "--max-length 8 --steps 7 --dry-run --json";
    arguments.extend(options.split_whitespace().map(String::from));
    let json = run("gpt2-lora", arguments).succeeded().stdout();
    let dry: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&dry["steps"], &dry["data"]["max_length"]), (&7.into(), &8.into()));
    assert_eq!(dry["trainable_parameters"], dry["total_parameters"]);
    assert!(dry["data"]["splits"][0]["tokens"].as_u64().unwrap() > 100, "{dry}");
    assert!(!out.exists());
}

#[test]
fn dry_run_without_an_output_directory_creates_none() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.csv");
    fs::write(&data, table()).unwrap();
    let mut arguments = training(&fixture("tiny"), &data, &folder.path().join("out"));
    let out = arguments.iter().position(|argument| argument == "--out").unwrap();
    arguments.drain(out..out + 2);
    arguments.extend("--rank 2 --seeds 1,2 --dry-run --json".split(' ').map(String::from));
    let finished = run("trainer", arguments).succeeded();
    let dry: Value = serde_json::from_str(&finished.stdout()).unwrap();
    assert_eq!(dry["runs"], 2);
    let left: Vec<_> = fs::read_dir(finished.folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
