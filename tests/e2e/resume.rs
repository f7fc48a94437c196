//! Stopped runs and runs out of space resume with the same results.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use test_support::{
    assert_same_results, binary, fixture, one_sentence, read_json, read_jsonl, read_tensors, run,
    run_and_signal, run_limited, training,
};

/// Asserts that every file under its final name is complete.
pub(crate) fn assert_complete(out: &Path) {
    let Ok(entries) = fs::read_dir(out) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            assert_complete(&path);
        } else if name.ends_with(".safetensors") {
            read_tensors(&path);
        } else if name.ends_with(".json") {
            read_json(&path);
        } else if name.starts_with('.') {
            // Temporary file.
        } else if name == "metrics.jsonl" {
            // The last line may be incomplete; checkpoints store the length that they cover.
            let text = fs::read_to_string(&path).unwrap();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            whole.lines().for_each(|line| assert!(serde_json::from_str::<Value>(line).is_ok()));
        } else {
            let bytes = fs::read(&path).unwrap();
            let end: &[u8] = match name.rsplit_once('.').unwrap().1 {
                "png" => b"IEND\xae\x42\x60\x82",
                "svg" => b"</svg>\n",
                "csv" | "toml" | "jsonl" | "md" => b"\n",
                other => panic!("what is {other}?"),
            };
            assert!(bytes.ends_with(end), "{} is cut", path.display());
        }
    }
}

/// Options that together use all state of a checkpoint.
const OPTIONS: &str = "--rank 2 --lr 0.004 --batch-size 4 --threads 1 --lora-dropout 0.1 \
                       --schedule linear --warmup-steps 5 --keep best --gradient-accumulation-steps 2 \
                       --class-weights balanced --lora-plus-ratio 2 --eval-every 10";

pub(crate) fn arguments(out: &Path, options: &str) -> Vec<String> {
    let mut all = training(&fixture("tiny"), &fixture("messages.tsv"), out);
    all.extend(OPTIONS.split_whitespace().chain(options.split_whitespace()).map(String::from));
    all
}

#[test]
fn stopped_run_resumes_with_the_printed_command() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("it's stopped"));
    let options = "--epochs 12 --checkpoint-every 7";
    run("trainer", arguments(&whole, options)).succeeded();
    assert!(!whole.join("checkpoints").exists());

    let mut command: Option<String> = None;
    for signal in ["TERM", "INT"] {
        let resume = if stopped.exists() { " --resume" } else { "" };
        let all = arguments(&stopped, &format!("{options}{resume}"));
        let halted = run_and_signal("trainer", all, signal, || {
            let metrics = fs::read_to_string(stopped.join("metrics.jsonl")).unwrap_or_default();
            let done = metrics.matches("\"event\":\"step\"").count();
            done > if signal == "TERM" { 20 } else { 60 }
        });
        let stderr = halted.stderr();
        halted.failed(&["stopped after step", "of 204", "--resume"]);
        let found = stderr.lines().find_map(|line| line.split_once("resume with: "));
        command = found.map(|(_, words)| words.to_owned());
        assert!(command.is_some(), "{stderr}");
        assert_complete(&stopped);
    }
    // A second signal right after the first, as `timeout` sends it, changes nothing.
    for wait in [0, 1, 5, 20] {
        let all = arguments(&folder.path().join("twice"), "--epochs 100000 --resume");
        let mut child = Command::new(binary("trainer"));
        let child = child.args(all).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let metrics = folder.path().join("twice/metrics.jsonl");
        let length = || fs::metadata(&metrics).map_or(0, |file| file.len());
        let before = length();
        while length() == before {
            thread::sleep(Duration::from_millis(1));
        }
        let kill = format!("kill -INT {0}; sleep 0.00{wait}; kill -TERM {0}", child.id());
        Command::new("sh").args(["-c", &kill]).status().unwrap();
        let ended = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{stderr}");
        assert_eq!(stderr.matches("error: stopped after step").count(), 1, "{stderr}");
    }
    // Without --resume nothing is overwritten.
    run("trainer", arguments(&stopped, options)).failed(&["checkpoints", "--resume"]);
    // It begins as the program was started.
    let command = command.unwrap();
    assert!(command.starts_with(binary("trainer").to_str().unwrap()), "{command}");
    let shell = Command::new("sh").args(["-c", &command]).env("OMP_NUM_THREADS", "1").output();
    assert!(shell.unwrap().status.success(), "{command}");
    assert_same_results(&whole, &stopped);
    run("trainer", arguments(&stopped, &format!("{options} --resume"))).failed(&["report.json"]);
}

#[test]
fn several_seeds_resume() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    let options = "--epochs 4 --seeds 3,5";
    run("trainer", arguments(&whole, options)).succeeded();
    let halted = run_and_signal("trainer", arguments(&stopped, options), "TERM", || {
        stopped.join("seed-5/checkpoints").exists()
    });
    let stderr = halted.stderr();
    halted.failed(&["--resume"]);
    assert!(stderr.contains("--seeds 3,5 --out") && stderr.contains("seed-3/run.toml"), "{stderr}");
    let first = fs::read(stopped.join("seed-3/report.json")).unwrap();
    run("trainer", arguments(&stopped, &format!("{options} --resume"))).succeeded();
    // Finished seeds are kept.
    assert_eq!(fs::read(stopped.join("seed-3/report.json")).unwrap(), first);
    for seed in ["seed-3", "seed-5"] {
        assert_same_results(&whole.join(seed), &stopped.join(seed));
    }
    let mean = |out: &Path| read_json(&out.join("seeds.json"))["mean"].clone();
    assert_eq!(mean(&whole), mean(&stopped));

    // Finished seeds with other settings, data or base model are refused.
    let more = |out: &Path, options: &str| {
        let all = arguments(out, &format!("--epochs 4 --seeds 3,5,7 --resume {options}"));
        run("trainer", all)
    };
    more(&whole, "--weight-decay 0.5").failed(&["seed-3", "other settings", "weight-decay"]);
    let report = whole.join("seed-3/report.json");
    let text = fs::read_to_string(&report).unwrap();
    let told = read_json(&report);
    for (name, words) in [("data_sha256", "another dataset"), ("base_digest", "another base")] {
        let sum = told[name].as_str().unwrap();
        let other = "0".repeat(sum.len());
        fs::write(&report, text.replace(sum, &other)).unwrap();
        more(&whole, "").failed(&["seed-3", words]);
    }
    fs::write(&report, &text).unwrap();
    more(&whole, "").succeeded();
    fs::write(whole.join("seeds.json"), "mine").unwrap();
    more(&whole, "").failed(&["seeds.json"]);
}

#[test]
fn changed_inputs_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (data, model) = (folder.path().join("messages.tsv"), folder.path().join("model"));
    fs::copy(fixture("messages.tsv"), &data).unwrap();
    fs::create_dir(&model).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixture("tiny").join(name), model.join(name)).unwrap();
    }
    let out = folder.path().join("out");
    let begin = |options: &str| {
        let mut all = training(&model, &data, &out);
        let fixed = "--rank 2 --epochs 500 --threads 1 --checkpoint-every 1";
        all.extend(fixed.split_whitespace().chain(options.split_whitespace()).map(String::from));
        all
    };
    run_and_signal("trainer", begin(""), "TERM", || out.join("checkpoints").exists());
    let stderr = run("gpt2-lora", ["inspect", out.to_str().unwrap()]).stdout();
    assert!(stderr.contains("Unfinished run") && stderr.contains("checkpoints/step-"), "{stderr}");
    let resume = |options: &str| run("trainer", begin(&format!("{options} --resume")));
    resume("--lr 0.01").failed(&["checkpoints/step-", "other settings", "lr was 0.00005"]);
    resume("--early-stopping 3").failed(&["early-stopping was not given"]);
    resume("--seed 5").failed(&["seed was 123"]);
    let text = fs::read_to_string(&data).unwrap();
    fs::write(&data, text.replace("ham\t", "ham\tOh, ")).unwrap();
    resume("").failed(&["another dataset"]);
    fs::write(&data, text).unwrap();
    let mut weights = fs::read(model.join("model.safetensors")).unwrap();
    let last = weights.len() - 1;
    weights[last] ^= 1;
    fs::write(model.join("model.safetensors"), &weights).unwrap();
    resume("").failed(&["another base model"]);
    weights[last] ^= 1;
    fs::write(model.join("model.safetensors"), weights).unwrap();
    let metrics = out.join("metrics.jsonl");
    let events = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, events.replacen("\"loss\":", "\"loss\":1", 1)).unwrap();
    resume("").failed(&["metrics.jsonl", "--resume"]);
    fs::write(&metrics, &events).unwrap();
    // Before the first checkpoint too.
    let (kept, aside) = (out.join("checkpoints"), folder.path().join("aside"));
    fs::rename(&kept, &aside).unwrap();
    resume("--lr 0.01").failed(&["other settings", "0.00005"]);
    fs::write(&kept, "").unwrap();
    resume("").failed(&["checkpoints", "Not a directory"]);
    fs::remove_file(&kept).unwrap();
    fs::rename(&aside, &kept).unwrap();
    // A damaged checkpoint is named, and the run does not start over.
    let newest = fs::read_dir(out.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let newest = newest.max().unwrap();
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    resume("").failed(&[newest.to_str().unwrap(), "--resume"]);
    let mut flipped = bytes;
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&newest, flipped).unwrap();
    resume("").failed(&[newest.to_str().unwrap(), "checksum", "delete it"]);
    // The one before it can be used.
    fs::remove_file(&newest).unwrap();
    let goes_on = || fs::metadata(&metrics).unwrap().len() > events.len() as u64;
    let again = run_and_signal("trainer", begin("--resume"), "TERM", goes_on);
    assert!(again.stderr().contains("resuming after step "), "{}", again.stderr());
    again.failed(&["stopped after step"]);
}

/// Error of a run whose files are limited to `blocks` of 512 bytes.
fn within_blocks(blocks: usize, arguments: &[String]) -> String {
    let output = run_limited(&format!("ulimit -f {blocks}"), "trainer", arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    one_sentence(&stderr)
}

#[test]
fn full_disk_is_one_error_and_keeps_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, full) = (folder.path().join("whole"), folder.path().join("full"));
    let options = "--epochs 24 --checkpoint-every 5 --target-modules q";
    run("trainer", arguments(&whole, options)).succeeded();
    // The limit is smaller than the final metrics.jsonl.
    let stderr = within_blocks(80, &arguments(&full, options));
    assert!(stderr.contains("cannot write") && stderr.contains("metrics.jsonl"), "{stderr}");
    assert_complete(&full);
    assert!(full.join("checkpoints").is_dir());
    run("trainer", arguments(&full, &format!("{options} --resume"))).succeeded();
    assert_same_results(&whole, &full);
}

#[test]
fn checkpoint_without_space_keeps_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, full) = (folder.path().join("whole"), folder.path().join("full"));
    let options = "--epochs 4 --checkpoint-every 2";
    run("trainer", arguments(&whole, options)).succeeded();
    run_and_signal("trainer", arguments(&full, options), "TERM", || {
        full.join("checkpoints/step-00000004.safetensors").exists()
    });
    let before = files(&full.join("checkpoints"));
    let least = before.values().map(Vec::len).min().unwrap();
    let events = fs::metadata(full.join("metrics.jsonl")).unwrap().len();
    // Room for the events, but not for a checkpoint.
    let blocks = least / 512 - 1;
    assert!(blocks as u64 * 512 > events + 4096);
    let stderr = within_blocks(blocks, &arguments(&full, &format!("{options} --resume")));
    assert!(stderr.contains("cannot write") && stderr.contains("checkpoints/step-"), "{stderr}");
    assert_eq!(files(&full.join("checkpoints")), before);
    run("trainer", arguments(&full, &format!("{options} --resume"))).succeeded();
    assert_same_results(&whole, &full);
}

/// The files of a folder, hidden ones too.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn nan_loss_is_named_with_its_step_and_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let train = |out: &str, options: &str| {
        let mut all =
            training(&fixture("tiny"), &fixture("messages.tsv"), &folder.path().join(out));
        let fixed = "--rank 2 --epochs 50 --threads 1 --checkpoint-every 1 --lr 1e30";
        all.extend(fixed.split(' ').chain(options.split_whitespace()).map(String::from));
        run("trainer", all)
    };
    let diverged = train("one", "");
    let stderr = diverged.stderr();
    diverged.failed(&["the loss is NaN", "rows [", "--lr"]);
    assert!(stderr.contains("last checkpoint before") && stderr.contains("step-0"), "{stderr}");
    let out = folder.path().join("one");
    assert_complete(&out);
    // The named checkpoint has finite parameters.
    let named = stderr
        .lines()
        .find_map(|line| line.split_once("last checkpoint before the loss diverged: "));
    for (name, (_, numbers)) in read_tensors(Path::new(named.unwrap().1)) {
        let finite = numbers.iter().all(|number| number.is_finite());
        assert!(finite || !name.starts_with("value."), "{name}");
    }
    // Every loss in the metrics is finite.
    for event in read_jsonl(&out.join("metrics.jsonl")) {
        assert!(event["event"] != "step" || event["loss"].is_f64(), "{event}");
    }
    // --detect-anomaly finds the gradient before it is applied.
    train("other", "--detect-anomaly --arithmetic kernels").failed(&[
        "the gradient of h.",
        "NaN or infinite",
        "rows [",
    ]);
}
