//! Full disks: small file systems in memory, mounted in a namespace of the test's own.

use std::{fs, path::Path, process::Command};

use test_support::{assert_same_results, binary, one_sentence, run};

use crate::resume::{arguments, assert_complete};

const OPTIONS: &str = "--epochs 3 --checkpoint-every 5";

/// Runs a script in a mount namespace; `$0` is the program, `$@` its arguments. Returns the
/// exit code and standard error.
fn in_namespace(script: &str, arguments: &[String]) -> (i32, String) {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(binary("trainer"));
    let output = command.args(arguments).env("OMP_NUM_THREADS", "1").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), stderr)
}

#[test]
#[ignore = "needs a mount namespace"]
fn run_on_a_full_disk_resumes_with_more_space() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, disk) = (folder.path().join("whole"), folder.path().join("disk"));
    run("trainer", arguments(&whole, OPTIONS)).succeeded();
    fs::create_dir(&disk).unwrap();
    let mut full = 0;
    for kilobytes in [8, 16, 32, 64, 100, 140, 180, 240, 320, 420] {
        let kept = folder.path().join(format!("kept-{kilobytes}"));
        // Two runs: one on the small disk, and one that resumes when it is larger.
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k none {disk} || exit 77; \
             \"$0\" \"$@\"; code=$?; cp -r {disk} {kept}-small; [ $code = 0 ] || {{ \
             mount -o remount,size=100m {disk}; \"$0\" \"$@\" --resume 2> /dev/null || exit 3; }}; \
             cp -r {disk}/out {kept}; exit $code",
            disk = disk.display(),
            kept = kept.display()
        );
        let (code, stderr) = in_namespace(&script, &arguments(&disk.join("out"), OPTIONS));
        assert!(code == 0 || code == 1, "{kilobytes} KB: {code}: {stderr}");
        let small = Path::new(&format!("{}-small", kept.display())).join("out");
        assert_complete(&small);
        if code == 1 {
            full += 1;
            let sentence = one_sentence(&stderr);
            assert!(sentence.contains("No space left on device"), "{sentence}");
        }
        assert_same_results(&whole, &kept);
    }
    assert!(full >= 5, "only {full} disks were full");
}
