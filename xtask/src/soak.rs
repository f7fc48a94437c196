//! `cargo xtask soak`: tests that kill programs, and that damage their files.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{cargo, libtorch};

pub const HELP: &str = "\
Runs the tests that kill programs and give them hostile and damaged files, which `cargo xtask
test` leaves out. Each round has another seed. The first round is always completed; no test
begins after the duration. The first failure ends the soak; its message has the command that
repeats it.

Examples:
  cargo xtask soak
  cargo xtask soak --duration 8h --seed 5";

/// Environment variable with the seed of a test, read by `test_support::seed`.
const SEED: &str = "TEST_SEED";
/// Start of the lines on which tests report what they did, `counted 12 kills`.
const COUNTED: &str = "counted ";

#[derive(Args, Clone, Debug)]
pub struct SoakArgs {
    /// Time after which no further test begins: seconds, or with the suffix s, m or h
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = duration)]
    duration: Duration,
    /// Seed of the first round; each round adds 1 [default: the time]
    #[arg(long)]
    seed: Option<u32>,
}

/// Reason in the attribute of the tests.
#[cfg(test)]
pub const REASON: &str = "run by cargo xtask soak";

/// Tests of the soak: description, target, and a part of their paths.
pub struct Job {
    what: &'static str,
    target: &'static [&'static str],
    filter: &'static str,
}

const E2E: &[&str] = &["-p", "e2e-tests", "--test", "e2e"];

pub const JOBS: [Job; 10] = [
    Job { what: "runs killed at random moments", target: E2E, filter: "randomized::kills::" },
    Job {
        what: "runs killed at file operations",
        target: E2E,
        filter: "randomized::file_operations::",
    },
    Job {
        what: "damaged files given to the programs",
        target: E2E,
        filter: "randomized::damaged_files::",
    },
    Job {
        what: "damaged files given to the readers",
        target: &["-p", "parsers", "--test", "inputs"],
        filter: "damaged_files",
    },
    Job {
        what: "downloads killed at random moments",
        target: &["-p", "e2e-tests", "--test", "fetch"],
        filter: "killed_downloads",
    },
    Job { what: "runs with random options", target: E2E, filter: "randomized::options::" },
    Job { what: "hostile files given to the programs", target: E2E, filter: "hostile::" },
    Job {
        what: "killed and stopped ranks of a group",
        target: &["-p", "distributed", "--test", "suite"],
        filter: "failures::",
    },
    Job { what: "runs of several processes", target: E2E, filter: "distributed::" },
    Job { what: "scoring with killed processes", target: E2E, filter: "scoring_kills::" },
];

pub fn soak(root: &Path, args: &SoakArgs) -> Result<()> {
    libtorch::ensure(root)?;
    let build = ["test", "--locked", "--no-run", "-p", "e2e-tests", "-p", "parsers"];
    cargo::cargo(root, &build)?;
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let first = args.seed.unwrap_or_else(|| (clock() & 0xffff_ffff) as u32);
    let start = Instant::now();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut tests = 0u64;
    say!("soak for {} s, seeds from {first}", args.duration.as_secs());
    'rounds: for seed in (0..).map(|round| first.wrapping_add(round)) {
        for job in &JOBS {
            if seed != first && start.elapsed() >= args.duration {
                break 'rounds;
            }
            let begin = Instant::now();
            let counted = job.run(root, seed)?;
            tests += 1;
            say!(
                "{:5} s  seed {seed}  {}: {} ({} s)",
                start.elapsed().as_secs(),
                job.what,
                listed(&counted),
                begin.elapsed().as_secs()
            );
            for (what, count) in counted {
                *counts.entry(what).or_default() += count;
            }
        }
    }
    let seconds = start.elapsed().as_secs();
    say!("soak passed: {tests} tests in {seconds} s: {}", listed(&counts));
    Ok(())
}

impl Job {
    /// Returns whether this job runs a test, given by the path of its module and its name.
    #[cfg(test)]
    pub fn runs(&self, path: &str) -> bool {
        let binary = self.target.last().map(|name| format!("::{name}::"));
        binary.is_some_and(|binary| path.contains(&binary)) && path.contains(self.filter)
    }

    /// Runs the tests with a seed and returns what they counted.
    fn run(&self, root: &Path, seed: u32) -> Result<BTreeMap<String, u64>> {
        let mut command: Command = cargo::command(root);
        command.args(["test", "--locked", "--quiet"]).args(self.target);
        // Tests that need a CUDA device may be below the filter.
        command.args(["--", "--ignored", "--nocapture", "--skip", "cuda::", self.filter]);
        command.env(SEED, seed.to_string());
        let output = command.output().context("cargo test cannot be started")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let command = format!(
            "{SEED}={seed} cargo test {} -- --ignored --nocapture --skip cuda:: {}",
            self.target.join(" "),
            self.filter
        );
        if !output.status.success() {
            say!("{text}{}", String::from_utf8_lossy(&output.stderr));
            bail!("{} failed with the seed {seed}; repeat it with: {command}", self.what);
        }
        let counted = counted(&text);
        if counted.is_empty() {
            bail!("no test reported a count: {command}");
        }
        Ok(counted)
    }
}

/// Counts as they are printed.
fn listed(counts: &BTreeMap<String, u64>) -> String {
    let all: Vec<String> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    all.join(", ")
}

/// Sums of the counts that tests report.
fn counted(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        // With --quiet the dots of the test harness may precede it.
        if let Some((_, report)) = line.split_once(COUNTED)
            && let Some((count, what)) = report.split_once(' ')
            && let Ok(count) = count.parse::<u64>()
        {
            *counts.entry(what.trim().to_owned()).or_default() += count;
        }
    }
    counts
}

/// Parses `90`, `90s`, `2m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(end) => text.split_at(end),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("unknown unit {unit:?}, expected s, m or h")),
    };
    let number: u64 = number.parse().map_err(|error| format!("{error}"))?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!([seconds("90"), seconds("90s"), seconds("2m")], [Ok(90), Ok(90), Ok(120)]);
        assert_eq!(seconds("3h"), Ok(10_800));
        for text in ["", "m", "2d", "-1", "99999999999999999999", "9999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_of_all_tests_are_added() {
        let text = "running 2 tests\ncounted 3 kills\ntest a ... counted 4 kills\ncounted x kills\n\
                    counted 5 files\n";
        let expected = [("files", 5), ("kills", 7)].map(|(what, count)| (what.to_owned(), count));
        assert_eq!(counted(text), BTreeMap::from(expected));
    }
}
