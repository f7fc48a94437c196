//! Processes killed while they score a table.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use test_support::{Random, Ranks, counted, seed};

use crate::scoring::{assert_same_parts, closing_line, parts, predict, run, write_parquet};

/// Row groups, which are too large to share a shard.
const GROUPS: usize = 12;
const ROWS_PER_GROUP: usize = 16_400;

/// Waits until a directory has this number of parts, or all processes have ended.
fn wait_for_parts(directory: &Path, count: usize) {
    let start = Instant::now();
    while parts(directory).len() < count {
        assert!(start.elapsed() < Duration::from_secs(60), "{count} parts");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn killed_processes_lose_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_parquet(&path("in.parquet"), 0, GROUPS * ROWS_PER_GROUP, ROWS_PER_GROUP);
    run(predict(&path("in.parquet"), &path("single/"), ""), &[]);
    let mut random = Random::new(seed());
    let mut kills = 0;
    // Rank 0 serves the store, and the others then work without it.
    for killed in [1, 2, 0] {
        let out = path(&format!("out-{killed}"));
        let arguments = |_| predict(&path("in.parquet"), &out.join(""), "");
        let mut ranks = Ranks::start("gpt2-lora", 3, arguments);
        for done in [1, 4] {
            wait_for_parts(&out, done);
            thread::sleep(Duration::from_millis(random.below(100) as u64));
            ranks.signal(killed, "KILL");
            kills += 1;
            ranks.wait(killed);
            if killed == 0 {
                // A new store would wait for the other ranks, which have joined the old one.
                break;
            }
            ranks.restart(killed);
        }
        for (rank, ended) in ranks.wait_for_all().iter().enumerate() {
            assert!(ended.status.success() || (rank, killed) == (0, 0), "{}", ended.stderr);
        }
        assert_eq!(parts(&out).len(), GROUPS);
        assert_same_parts(&out, &path("single"));
    }
    counted(kills, "kills of scoring processes");
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn killed_single_process_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_parquet(&path("in.parquet"), 0, GROUPS * ROWS_PER_GROUP, ROWS_PER_GROUP);
    run(predict(&path("in.parquet"), &path("single/"), ""), &[]);
    let out = path("out");
    let mut random = Random::new(seed());
    for done in [0, 3, 6] {
        // A launcher of one process.
        let ranks =
            Ranks::start("gpt2-lora", 1, |_| predict(&path("in.parquet"), &out.join(""), ""));
        wait_for_parts(&out, done);
        thread::sleep(Duration::from_millis(random.below(300) as u64));
        ranks.signal(0, "KILL");
    }
    let line = closing_line(&run(predict(&path("in.parquet"), &out.join(""), ""), &[]));
    assert!(line.ends_with("were there already"), "{line}");
    assert_eq!(parts(&out).len(), GROUPS);
    assert_same_parts(&out, &path("single"));
    counted(3, "kills of a scoring process");
}
