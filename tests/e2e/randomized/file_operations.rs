//! Runs killed at one file operation after the other.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use test_support::{
    Random, assert_same_results, binary, counted,
    power_cut::{Act, Watch, is_temporary},
    run, seed,
};

use crate::resume::{arguments, assert_complete};

/// A start is killed this many operations later than the start before it, on average.
const STRIDE: usize = 5;

fn is_finished(out: &Path) -> bool {
    let left = fs::read_dir(out.join("checkpoints")).map_or(0, Iterator::count);
    out.join("report.json").exists() && left == 0
}

/// Asserts that no temporary file of a killed run is left.
fn assert_no_temporary_files(out: &Path) {
    for folder in [out, &out.join("adapter"), &out.join("adapter_init")] {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| is_temporary(Path::new(name))).collect();
        assert!(left.is_empty(), "{left:?} in {}", folder.display());
    }
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn kills_at_file_operations_change_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("killed"));
    let options = "--epochs 3 --checkpoint-every 1 --keep-checkpoints 1";
    run("trainer", arguments(&whole, options)).succeeded();
    let (mut last, mut act, mut random) = (Vec::new(), 0, Random::new(seed()));
    // Each start is killed later than the one before and continues its run.
    loop {
        act += 1 + random.below(2 * STRIDE - 1);
        let watch = Watch::new();
        let mut command = Command::new(binary("trainer"));
        command.args(arguments(&out, &format!("{options} --resume"))).env("OMP_NUM_THREADS", "1");
        watch.kill(&mut command, act).stdout(Stdio::null()).stderr(Stdio::piped());
        let ended = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!stderr.contains("error: "), "{stderr}");
        assert_complete(&out);
        if ended.status.success() {
            assert_no_temporary_files(&out);
            break;
        }
        last.extend(watch.acts().pop());
        if is_finished(&out) {
            break;
        }
    }
    assert_same_results(&whole, &out);
    let count = |is_kind: fn(&Act) -> bool| last.iter().filter(|act| is_kind(act)).count();
    let writes = count(|act| matches!(act, Act::Write(..)));
    let renames = count(|act| matches!(act, Act::Rename(..)));
    println!("{} kills: {writes} in writes, {renames} at renames", last.len());
    assert!(last.len() >= 6, "{last:?}");
    // Few kills of another seed may all be of one kind.
    assert!(seed() != 1 || (writes >= 1 && renames >= 1), "{last:?}");
    counted(last.len(), "kills at file operations");
}
