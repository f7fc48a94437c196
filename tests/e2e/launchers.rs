//! Runs that real launchers start.

use std::{
    env, fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use test_support::{Port, assert_same_results, binary, fixture, run, training};

const OPTIONS: &str = "--batch-size 2 --gradient-accumulation-steps 4 --rank 2 --threads 1 \
                       --lora-dropout 0.1 --epochs 12 --checkpoint-every 5 --eval-every 50";

fn arguments(out: &Path, options: &str) -> Vec<String> {
    let mut all = training(&fixture("tiny"), &fixture("messages.tsv"), out);
    all.extend(OPTIONS.split_whitespace().chain(options.split_whitespace()).map(String::from));
    all
}

/// Results of a single process.
fn whole(folder: &Path) -> std::path::PathBuf {
    let out = folder.join("whole");
    run("trainer", arguments(&out, "")).succeeded();
    out
}

fn torchrun(options: &str) -> Command {
    let mut command = Command::new(env::var("TORCHRUN").expect("TORCHRUN names torchrun"));
    command.args(["--no-python", "--nproc-per-node", "4", "--standalone"]);
    command.args(options.split_whitespace()).arg(binary("trainer"));
    command
}

fn mpirun(port: &Port) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "4"]);
    command.args(["-x", "MASTER_ADDR=127.0.0.1", "-x", &format!("MASTER_PORT={}", port.number())]);
    command.arg(binary("trainer"));
    command
}

#[track_caller]
fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Kills one of the ranks below a launcher as soon as a run has taken some steps.
fn kill_a_rank(launcher: u32, out: &Path) {
    let start = Instant::now();
    let steps = || {
        let events = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
        events.matches("\"event\":\"step\"").count()
    };
    while steps() < 40 {
        assert!(start.elapsed() < Duration::from_secs(120), "the run does not begin");
        thread::sleep(Duration::from_millis(5));
    }
    let mut kill = Command::new("pkill");
    let killed = kill.args(["-9", "-n", "-P", &launcher.to_string()]).status().unwrap();
    assert!(killed.success(), "the launcher has no child process");
}

#[test]
#[ignore = "needs TORCHRUN"]
fn torchrun_writes_the_bytes_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (whole(folder.path()), folder.path().join("out"));
    assert_success(&torchrun("").args(arguments(&out, "")).output().unwrap());
    assert_same_results(&whole, &out);
}

#[test]
#[ignore = "needs TORCHRUN"]
fn torchrun_restarts_from_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (whole(folder.path()), folder.path().join("out"));
    let mut command = torchrun("--max-restarts 2");
    let child = command.args(arguments(&out, "--resume")).stderr(Stdio::piped()).spawn().unwrap();
    kill_a_rank(child.id(), &out);
    let output = child.wait_with_output().unwrap();
    assert_success(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("resuming after step"));
    assert_same_results(&whole, &out);
}

#[test]
#[ignore = "needs TORCHRUN"]
fn torchrun_shows_the_sentence_of_a_rank() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = torchrun("");
    let options = training(&fixture("tiny"), Path::new("nowhere.tsv"), folder.path());
    let output = command.args(options).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let summary = stderr.split("Root Cause").nth(1).unwrap_or_else(|| panic!("{stderr}"));
    assert!(summary.contains("nowhere.tsv"), "{stderr}");
}

#[test]
#[ignore = "needs mpirun"]
fn mpirun_writes_the_bytes_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (whole(folder.path()), folder.path().join("out"));
    let output = mpirun(&Port::reserve()).args(arguments(&out, "")).output().unwrap();
    assert_success(&output);
    assert_same_results(&whole, &out);
}

#[test]
#[ignore = "needs mpirun"]
fn mpirun_ends_when_a_rank_is_killed_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (whole(folder.path()), folder.path().join("out"));
    let port = Port::reserve();
    let child = mpirun(&port).args(arguments(&out, "")).spawn().unwrap();
    kill_a_rank(child.id(), &out);
    let ended = child.wait_with_output().unwrap();
    assert!(!ended.status.success());
    let output = mpirun(&Port::reserve()).args(arguments(&out, "--resume")).output().unwrap();
    assert_success(&output);
    assert_same_results(&whole, &out);
}
