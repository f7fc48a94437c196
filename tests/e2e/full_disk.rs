//! A disk that is full: a small one of its own, in memory, where the system lets a user
//! mount one.

use std::{fs, path::Path, process::Command};

use test_support::{assert_same_results, binary, one_sentence, run};

use crate::resume::{arguments, assert_whole};

const OPTIONS: &str = "--epochs 3 --checkpoint-every 5";

/// Runs a script in a namespace of its own, where it may mount; `$0` is the program, `$@`
/// its arguments. Nothing where the system does not allow it.
fn in_namespace(script: &str, arguments: &[String]) -> Option<(i32, String)> {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(binary("trainer"));
    let output = command.args(arguments).env("OMP_NUM_THREADS", "1").output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_refused = said.starts_with("unshare: ") || output.status.code() == Some(77);
    (!is_refused).then(|| (output.status.code().unwrap(), said))
}

#[test]
fn wherever_the_disk_is_full_the_run_goes_on_with_more_space() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, disk) = (folder.path().join("whole"), folder.path().join("disk"));
    run("trainer", arguments(&whole, OPTIONS)).succeeded();
    fs::create_dir(&disk).unwrap();
    let mut refused = 0;
    for kilobytes in [8, 16, 32, 64, 100, 140, 180, 240, 320, 420] {
        let kept = folder.path().join(format!("kept-{kilobytes}"));
        // Two runs: one on the small disk, and one that goes on when it is larger.
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k none {disk} || exit 77; \
             \"$0\" \"$@\"; code=$?; cp -r {disk} {kept}-small; [ $code = 0 ] || {{ \
             mount -o remount,size=100m {disk}; \"$0\" \"$@\" --resume 2> /dev/null || exit 3; }}; \
             cp -r {disk}/out {kept}; exit $code",
            disk = disk.display(),
            kept = kept.display()
        );
        let Some((code, said)) = in_namespace(&script, &arguments(&disk.join("out"), OPTIONS))
        else {
            println!("not tried: this system lets nobody mount a disk of his own");
            return;
        };
        assert!(code == 0 || code == 1, "{kilobytes} KB: {code}: {said}");
        let small = Path::new(&format!("{}-small", kept.display())).join("out");
        assert_whole(&small);
        if code == 1 {
            refused += 1;
            let sentence = one_sentence(&said);
            assert!(sentence.contains("No space left on device"), "{sentence}");
        }
        assert_same_results(&whole, &kept);
    }
    println!("{refused} disks were full");
    assert!(refused >= 5, "{refused}");
}
