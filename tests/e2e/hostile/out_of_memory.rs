//! Out of memory, and aborted processes.

use std::{fs, os::unix::process::ExitStatusExt, path::Path, process::Output, sync::OnceLock};

use test_support::{
    assert_same_results, fixture, one_sentence, pocket, run, run_and_signal, run_limited,
};

use crate::resume::{arguments as training_arguments, assert_complete};

/// Runs a program with an address space that exceeds the need of `inspect` on a tiny model by
/// this many megabytes. That need (libtorch, threads) depends on the machine.
fn run_within(megabytes: u64, arguments: &[String]) -> Output {
    static LEAST: OnceLock<u64> = OnceLock::new();
    let limited = |megabytes: u64, arguments: &[String]| {
        run_limited(&format!("ulimit -v {}", megabytes << 10), "gpt2-lora", arguments)
    };
    let least = *LEAST.get_or_init(|| {
        let tiny = ["inspect".to_owned(), fixture("tiny").display().to_string()];
        let (mut too_few, mut enough) = (0, 64 << 10);
        while enough - too_few > 4 {
            let half = (too_few + enough) / 2;
            *if limited(half, &tiny).status.success() { &mut enough } else { &mut too_few } = half;
        }
        println!("{enough} MB for a tiny model");
        enough
    });
    limited(least + megabytes, arguments)
}

/// Error of a program that ran out of memory.
#[track_caller]
fn out_of_memory(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let sentence = one_sentence(&stderr);
    // The second is the operating system's message where a file is read.
    let problems = ["there is not enough memory", "Cannot allocate memory"];
    assert!(problems.iter().any(|words| sentence.contains(words)), "{sentence}");
    let remedy = "fewer or shorter texts at a time (in training --batch-size, --max-length";
    assert!(sentence.contains(remedy), "{sentence}");
    sentence
}

fn options(command: &str, paths: &[(&str, &Path)], more: &str) -> Vec<String> {
    let mut all = vec![command.to_owned()];
    for (name, path) in paths {
        all.extend([(*name).to_owned(), path.display().to_string()]);
    }
    all.extend(more.split_whitespace().map(String::from));
    all
}

/// An exception of libtorch becomes one sentence. The last checkpoint is unchanged, and the run
/// resumes from it with more memory.
#[test]
#[ignore = "run by cargo xtask soak"]
fn out_of_memory_is_one_error_and_keeps_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("long.csv");
    // Texts of one length, so that all batches need the same memory.
    let long = "word ".repeat(90);
    let row = |row: usize| format!("{long},{}\n", ["ham", "spam"][row % 2]);
    fs::write(&data, format!("text,label\n{}", (0..2400).map(row).collect::<String>())).unwrap();
    let (out, whole) = (folder.path().join("out"), folder.path().join("whole"));
    let tiny = fixture("tiny");
    let settings = "--epochs 4 --rank 2 --batch-size 1600 --checkpoint-every 1 --threads 1 \
                    --eval-batches 1 --eval-every 1000";
    let paths = |out| [("--model", tiny.as_path()), ("--data", data.as_path()), ("--out", out)];
    let arguments = options("train", &paths(&out), settings);
    let checkpoints = out.join("checkpoints");
    run_and_signal("gpt2-lora", &arguments, "TERM", || {
        checkpoints.join("step-00000001.safetensors").exists()
    });
    let kept = |folder: &Path| -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect();
        files.sort();
        files
    };
    let before = kept(&checkpoints);
    assert!(!before.is_empty());
    let resume: Vec<String> = arguments.iter().cloned().chain(["--resume".to_owned()]).collect();
    let error = out_of_memory(&run_within(440, &resume));
    println!("{error}");
    assert!(kept(&checkpoints) == before, "a checkpoint was changed");
    run("gpt2-lora", &resume).succeeded();
    run("gpt2-lora", options("train", &paths(&whole), settings)).succeeded();
    assert_same_results(&whole, &out);
}

/// Signal of an abort.
const SIGABRT: i32 = 6;

/// A model that does not fit into memory, randomly initialized by Rust and loaded by libtorch.
#[test]
#[ignore = "run by cargo xtask soak"]
fn model_that_does_not_fit_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    let text = fs::read_to_string(pocket().join("config.json")).unwrap();
    // 5 × 12 × 12288² and 50257 × 12288 numbers: 39 GB.
    let text = text.replace("\"n_embd\": 192", "\"n_embd\": 12288");
    fs::write(model.join("config.json"), text).unwrap();
    let arguments =
        vec!["inspect".to_owned(), model.display().to_string(), "--random-init".to_owned()];
    // Rust reports a failed allocation itself and aborts.
    let output = run_within(1500, &arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{stderr}");
    assert!(stderr.contains("memory allocation of"), "{stderr}");
    assert!(output.stdout.is_empty());
    // The pocket model, which there is room for, but not for its weights beside it.
    let arguments = vec!["inspect".to_owned(), pocket().display().to_string()];
    println!("{}", out_of_memory(&run_within(16, &arguments)));
}

/// Whatever aborts a run, the system reports it; files are complete and the run can be resumed.
#[test]
#[ignore = "run by cargo xtask soak"]
fn aborted_run_leaves_complete_files_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("aborted"));
    let options = "--epochs 8 --checkpoint-every 7";
    run("trainer", training_arguments(&whole, options)).succeeded();
    let checkpoints = out.join("checkpoints");
    let ended = run_and_signal("trainer", training_arguments(&out, options), "ABRT", || {
        fs::read_dir(&checkpoints).is_ok_and(|entries| entries.count() > 0)
    });
    assert_eq!(ended.output.status.signal(), Some(SIGABRT), "{}", ended.stderr());
    assert!(!out.join("report.json").exists());
    assert_complete(&out);
    let resume = format!("{options} --resume");
    run("trainer", training_arguments(&out, &resume)).succeeded();
    assert_same_results(&whole, &out);
}
