//! The fuzz targets' twin, which needs no fuzzer: seeds as they are, and damaged.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{cell::Cell, fs, path::PathBuf};

use e2e_tests::damaged;
use parsers::{Outcome, TARGETS, Target};
use proptest::test_runner::{Config, TestRunner};

/// Damaged files of each seed in each run.
const CASES: u32 = 250;

/// The seeds of a target: their names and bytes, in the order of their names.
fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target.name);
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// A seed that a fuzzer could make nothing of would be worth nothing.
#[test]
fn seeds_are_read() {
    let mut wrong = Vec::new();
    for target in TARGETS {
        let seeds = seeds(&target);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for (name, bytes) in seeds {
            let refused = (target.check)(&bytes) == Outcome::Refused;
            if refused != name.starts_with("refused") {
                wrong.push(format!("{}/{name}", target.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn damaged_files_give_an_error_or_something_usable() {
    let outcomes = [Cell::new(0u32), Cell::new(0)];
    for target in TARGETS {
        for (name, bytes) in seeds(&target) {
            println!("{}/{name}", target.name);
            let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
            TestRunner::new(config)
                .run(&damaged(&bytes), |bytes| {
                    let refused = (target.check)(&bytes) == Outcome::Refused;
                    let count = &outcomes[usize::from(refused)];
                    count.set(count.get() + 1);
                    Ok(())
                })
                .unwrap();
        }
    }
    println!("{} files read, {} refused", outcomes[0].get(), outcomes[1].get());
    // Damage that is always or never noticed would test nothing.
    assert!(outcomes.iter().all(|count| count.get() > 100));
}
