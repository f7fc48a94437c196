//! A run that is killed in the midst of what it does to files, each time in another.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use test_support::{
    assert_same_results, binary,
    power_cut::{Act, Watch, is_temporary},
    run,
};

use crate::resume::{arguments, assert_whole};

/// How often what was done last was of a kind.
fn count(last: &[Act], is_it: fn(&Act) -> bool) -> usize {
    last.iter().filter(|act| is_it(act)).count()
}

fn is_finished(out: &Path) -> bool {
    let left = fs::read_dir(out.join("checkpoints")).map_or(0, Iterator::count);
    out.join("report.json").exists() && left == 0
}

#[test]
fn killed_in_any_act_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("killed"));
    let options = "--epochs 12 --checkpoint-every 1 --keep-checkpoints 1";
    run("trainer", arguments(&whole, options)).succeeded();
    let mut last = Vec::new();
    // A start that is killed at its first act, one at its second, and so on: each comes
    // a little further.
    for act in 1.. {
        let watch = Watch::new();
        let mut command = Command::new(binary("trainer"));
        command.args(arguments(&out, &format!("{options} --resume"))).env("OMP_NUM_THREADS", "1");
        watch.kill(&mut command, act).stdout(Stdio::null()).stderr(Stdio::piped());
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!said.contains("error: "), "{said}");
        assert_whole(&out);
        if ended.status.success() {
            // What the killed ones were writing is taken away.
            for folder in [&out, &out.join("adapter"), &out.join("adapter_init")] {
                let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
                let left: Vec<_> = names.filter(|name| is_temporary(Path::new(name))).collect();
                assert!(left.is_empty(), "{left:?} in {}", folder.display());
            }
            break;
        }
        last.extend(watch.acts().pop());
        if is_finished(&out) {
            break;
        }
    }
    assert_same_results(&whole, &out);
    let writes = count(&last, |act| matches!(act, Act::Write(..)));
    let names = count(&last, |act| matches!(act, Act::Rename(..)));
    let deletions = count(&last, |act| matches!(act, Act::Unlink(..)));
    println!(
        "{} kills: {writes} in writes, {names} at renames, {deletions} at deletions",
        last.len()
    );
    assert!(last.len() >= 50 && writes >= 15 && names >= 5 && deletions >= 1, "{last:?}");
}
