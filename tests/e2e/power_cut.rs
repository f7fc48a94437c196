//! Simulated power cuts: bytes and names are synced before a file refers to them.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use test_support::{
    binary, fixture,
    power_cut::{Act, Disk, Watch, is_temporary},
    start_and_signal, training,
};

/// Runs a program until `is_time` and SIGTERM, then again with `--resume`; returns the file
/// operations of both.
fn stop_and_resume(program: &str, arguments: &[String], is_time: impl Fn() -> bool) -> Vec<Act> {
    let watch = Watch::new();
    let command = |more: &[&str]| {
        let mut command = Command::new(binary(program));
        command.args(arguments).args(more).env("OMP_NUM_THREADS", "1");
        watch.on(&mut command).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let first = start_and_signal(&mut command(&[]), "TERM", is_time);
    assert_eq!(first.status.code(), Some(1));
    assert!(command(&["--resume"]).status().unwrap().success());
    watch.acts()
}

/// Checks at every operation of a run in `out` the state that a power cut would leave; returns
/// the number of checkpoints.
fn check(acts: &[Act], out: &Path, checkpoints: &str) -> usize {
    let (mut disk, mut kept, mut deleted, mut is_done) = (Disk::default(), 0, 0, false);
    let (metrics, report) = (out.join("metrics.jsonl"), out.join("report.json"));
    for act in acts {
        match act {
            Act::Rename(_, old, path) if path.starts_with(out) => {
                let (shown, lost) = (path.display(), disk.loses_bytes_at(old));
                assert!(lost.is_empty(), "{shown} has its final name before its bytes are synced");
                let is_checkpoint = path.starts_with(out.join(checkpoints));
                kept += usize::from(is_checkpoint);
                is_done |= *path == report;
                if is_checkpoint || *path == report {
                    let lost = disk.loses_names_below(out);
                    assert!(lost.is_empty(), "{shown} refers to {lost:?}, which is not synced");
                    let lost = disk.loses_bytes_at(&metrics);
                    assert!(
                        lost.is_empty(),
                        "{shown} refers to lines of metrics.jsonl that are not synced"
                    );
                }
            }
            Act::Unlink(path) if path.starts_with(out) && !is_temporary(path) => {
                let lost = disk.loses_names_below(out);
                assert!(lost.is_empty(), "{} is deleted before {lost:?} is synced", path.display());
                // The newest checkpoints are deleted after the report only.
                let is_left = path.starts_with(out.join(checkpoints));
                assert!(!is_left || deleted + 1 < kept || is_done, "{}", path.display());
                deleted += 1;
            }
            _ => {}
        }
        disk.follow(act);
    }
    assert!(deleted > 0, "nothing was deleted");
    assert!(disk.loses_names_below(out).is_empty(), "{disk:?}");
    kept
}

/// Returns true if a file contains `kind` at least `count` times.
fn has_lines(file: &Path, kind: &str, count: usize) -> bool {
    fs::read_to_string(file).unwrap_or_default().matches(kind).count() >= count
}

#[test]
fn power_cut_leaves_a_resumable_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().canonicalize().unwrap().join("runs/out");
    let mut arguments = training(&fixture("tiny"), &fixture("messages.tsv"), &out);
    let options = "--rank 2 --batch-size 4 --epochs 4 --checkpoint-every 3 --keep-checkpoints 1";
    arguments.extend(options.split(' ').map(String::from));
    let metrics = out.join("metrics.jsonl");
    let acts = stop_and_resume("trainer", &arguments, || has_lines(&metrics, "\"step\",", 8));
    let kept = check(&acts, &out, "checkpoints");
    assert!(kept > 10, "{kept} checkpoints");
    let named = |name: &str| {
        acts.iter().any(|act| matches!(act, Act::Rename(_, _, path) if path.ends_with(name)))
    };
    for name in ["run.toml", "train.csv", "adapter/adapter_model.safetensors", "report.json"] {
        assert!(named(name), "{name} was not seen");
    }
}

#[test]
fn power_cut_leaves_a_resumable_pretraining() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().canonicalize().unwrap().join("out");
    let text = folder.path().join("text.txt");
    fs::write(&text, "Some words of a text.\n\nAnd some others.\n".repeat(20)).unwrap();
    let model = fixture("tiny");
    let mut arguments = vec!["pretrain".to_owned()];
    for (name, path) in [("--model", &model), ("--data", &text), ("--out", &out)] {
        arguments.extend([name.to_owned(), path.display().to_string()]);
    }
    let options = "--steps 60 --max-length 8 --checkpoint-every 5 --eval-every 10";
    arguments.extend(options.split(' ').map(String::from));
    let metrics = out.join("metrics.jsonl");
    let acts = stop_and_resume("gpt2-lora", &arguments, || has_lines(&metrics, "\"step\",", 8));
    let kept = check(&acts, &out, "checkpoints");
    assert!(kept > 10, "{kept} checkpoints");
}
