//! Runs killed at random moments.

use std::{
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use test_support::{Random, assert_same_results, binary, counted, run, seed};

use crate::resume::{arguments, assert_complete};

/// Kills of one seed.
const KILLS: usize = 6;

#[test]
#[ignore = "run by cargo xtask soak"]
fn kills_at_random_moments_change_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let options = format!("--epochs 12 --checkpoint-every 3 --seed {}", seed() % 1000);
    run("trainer", arguments(&whole, &options)).succeeded();
    let mut random = Random::new(seed());
    let (mut kills, mut runs) = (0, 0);
    // On a fast machine a run may end before it was killed often enough; then another begins.
    while kills < KILLS {
        runs += 1;
        let out = folder.path().join(format!("killed-{runs}"));
        loop {
            let resume = if out.join("checkpoints").exists() { " --resume" } else { "" };
            let mut child = Command::new(binary("trainer"))
                .args(arguments(&out, &format!("{options}{resume}")))
                .env("OMP_NUM_THREADS", "1")
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            if kills < KILLS {
                // From before it has read its data to well into training and writing.
                thread::sleep(Duration::from_millis(20 + random.below(900) as u64));
                child.kill().unwrap();
            }
            let ended = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(!stderr.contains("error: "), "{stderr}");
            assert_complete(&out);
            let success = ended.status.success();
            kills += usize::from(!success);
            // It may be killed when everything is written and only the exit is left.
            let finished = out.join("report.json").exists() && !out.join("checkpoints").exists();
            if success || finished {
                break;
            }
        }
        assert_same_results(&whole, &out);
    }
    counted(kills, "kills at random moments");
}
