//! The requirements of the fuzz targets on their seeds, intact and damaged, without a fuzzer.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{cell::Cell, fs, path::PathBuf};

use parsers::{Outcome, TARGETS, Target};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use test_support::{corrupted, counted, seed};

/// Damaged versions of each file.
const CASES: u32 = 60;

/// Names and bytes of the seeds of a target, sorted by name.
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

/// A seed that is refused unexpectedly would not lead a fuzzer anywhere.
#[test]
fn seeds_are_accepted_unless_named_refused() {
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
#[ignore = "run by cargo xtask soak"]
fn damaged_files_give_an_error_or_something_usable() {
    let mut tried = 0;
    for target in TARGETS {
        let outcomes = [Cell::new(0u32), Cell::new(0)];
        for (name, bytes) in seeds(&target) {
            println!("{}/{name}", target.name);
            let config = Config {
                cases: CASES,
                failure_persistence: None,
                rng_seed: RngSeed::Fixed(seed()),
                ..Config::default()
            };
            TestRunner::new(config)
                .run(&corrupted(&bytes), |bytes| {
                    let refused = (target.check)(&bytes) == Outcome::Refused;
                    let count = &outcomes[usize::from(refused)];
                    count.set(count.get() + 1);
                    Ok(())
                })
                .unwrap();
        }
        let [accepted, refused] = outcomes.map(Cell::into_inner);
        println!("{}: {accepted} files read, {refused} refused", target.name);
        // Damage that is never noticed would test nothing. All damage of a file with a
        // checksum is noticed.
        assert!(refused > 0, "{} refuses nothing", target.name);
        tried += accepted + refused;
    }
    counted(tried as usize, "damaged files given to the readers");
}

#[test]
fn cargo_fuzz_builds_every_target() {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest: toml::Table =
        fs::read_to_string(fuzz.join("Cargo.toml")).unwrap().parse().unwrap();
    let bins = manifest["bin"].as_array().unwrap();
    let mut built: Vec<&str> = bins.iter().map(|bin| bin["name"].as_str().unwrap()).collect();
    let mut named = TARGETS.map(|target| target.name);
    built.sort();
    named.sort();
    assert_eq!(built, named);
    for bin in bins {
        let name = bin["name"].as_str().unwrap();
        let source = fs::read_to_string(fuzz.join(bin["path"].as_str().unwrap())).unwrap();
        assert!(source.contains(&format!("check(\"{name}\", bytes)")), "{source}");
    }
}
