//! `cargo xtask test` and `cargo xtask lint`.

use std::{env, ffi::OsString, path::Path, thread};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::{
    cargo::{cargo, command, run},
    libtorch, prose,
};

pub const HELP: &str = "\
Tests that need something outside the repository are ignored by default. --with runs them
too, and they fail if the prerequisite is missing:
  book     reference run of the book's program: BOOK_REFERENCE names its folder
  cuda     a CUDA device
  dataset  the SMS Spam Collection, from `cargo xtask fetch-dataset`
  memory   an hour and 1 GB of disk: tables of a million rows
  mount    user namespaces that may mount a file system (Linux)
  mpirun   mpirun of Open MPI
  peft     a Python with peft and transformers: PEFT_PYTHON names it
  torchrun torchrun of PyTorch: TORCHRUN names it

`cargo xtask soak` runs the tests that kill programs and damage files.

Examples:
  cargo xtask test
  cargo xtask test --with mount,dataset
  cargo xtask test --package lora
  cargo xtask test -- golden";

#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Also run the tests that need these prerequisites
    #[arg(long, value_name = "PREREQUISITES", value_delimiter = ',')]
    with: Vec<Prerequisite>,
    /// Arguments for `cargo test` [default: --workspace]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

/// Something outside the repository that ignored tests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Prerequisite {
    Book,
    Cuda,
    Dataset,
    Memory,
    Mount,
    Mpirun,
    Peft,
    Torchrun,
}

impl Prerequisite {
    /// Reason in the attribute of the tests.
    #[cfg(test)]
    fn reason(self) -> &'static str {
        match self {
            Self::Book => "needs BOOK_REFERENCE",
            Self::Cuda => "needs a CUDA device",
            Self::Dataset => "needs the SMS Spam Collection",
            Self::Memory => "needs an hour and 1 GB of disk",
            Self::Mount => "needs a mount namespace",
            Self::Mpirun => "needs mpirun",
            Self::Peft => "needs PEFT_PYTHON",
            Self::Torchrun => "needs TORCHRUN",
        }
    }

    /// Words of which each path of such a test contains one, and no other ignored test.
    fn filters(self) -> &'static [&'static str] {
        match self {
            Self::Book => &["book"],
            Self::Cuda => &["cuda::"],
            Self::Dataset => &["sms_spam_collection"],
            Self::Memory => &["table_memory::"],
            Self::Mount => &["full_disk::"],
            Self::Mpirun => &["mpirun_"],
            Self::Peft => &["peft", "transformers"],
            Self::Torchrun => &["torchrun_"],
        }
    }
}

/// Variable with the number of tests that run at a time.
const TEST_THREADS: &str = "RUST_TEST_THREADS";

pub fn test(root: &Path, args: &TestArgs) -> Result<()> {
    libtorch::ensure(root)?;
    let mut all: Vec<OsString> = vec!["test".into(), "--locked".into()];
    let packages = ["--package", "-p", "--workspace", "--all"];
    if !args.arguments.iter().any(|argument| packages.iter().any(|other| argument == other)) {
        all.push("--workspace".into());
    }
    all.extend(args.arguments.iter().cloned());
    let mut tests = command(root);
    tests.args(&all);
    if env::var_os(TEST_THREADS).is_none() {
        // Many tests wait for programs, disks and servers.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        tests.env(TEST_THREADS, (cores + cores.div_ceil(2)).to_string());
    }
    run(tests).context("cargo test")?;
    if args.with.is_empty() {
        return Ok(());
    }
    let mut ignored = vec!["test", "--locked", "--workspace", "--tests", "--", "--ignored"];
    ignored.extend(args.with.iter().flat_map(|prerequisite| prerequisite.filters()));
    cargo(root, &ignored)
}

#[derive(Args, Clone, Debug)]
pub struct LintArgs {
    /// Only check the text, which needs no libtorch and no compilation
    #[arg(long)]
    text: bool,
}

pub fn lint(root: &Path, args: &LintArgs) -> Result<()> {
    prose::check(root)?;
    if args.text {
        return Ok(());
    }
    cargo(root, &["fmt", "--all", "--check"])?;
    libtorch::ensure(root)?;
    let lints = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo(root, &lints)?;
    let mut doc = command(root);
    doc.args(["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    run(doc).context("cargo doc")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{collections::BTreeSet, fs, path::PathBuf};

    use super::*;
    use crate::soak;

    fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                rust_files(&path, files);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }

    fn sources() -> Vec<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut files = Vec::new();
        for folder in ["crates", "tests", "xtask/src"] {
            rust_files(&root.join(folder), &mut files);
        }
        files
    }

    /// Statements that leave a test before its assertions.
    const EARLY: [&str; 3] = ["return;", "return }", "return Ok(())"];

    /// A test that returns early passes without its assertions.
    #[test]
    fn tests_do_not_return_early() {
        let (marker, mut tests) = (concat!("#[te", "st]\n"), 0);
        for file in sources() {
            let text = fs::read_to_string(&file).unwrap();
            for (start, _) in text.match_indices(marker) {
                let indent = text[..start].len() - text[..start].trim_end_matches(' ').len();
                let end = format!("\n{}}}\n", " ".repeat(indent));
                let body = &text[start..start + text[start..].find(&end).unwrap()];
                for early in EARLY {
                    assert!(!body.contains(early), "{}: {early} in {body}", file.display());
                }
                tests += 1;
            }
        }
        assert!(tests > 600, "only {tests} tests were found");
    }

    /// Each ignored test is run by `--with` or the soak, or started by another test.
    #[test]
    fn ignored_tests_state_a_known_prerequisite() {
        // Not a literal, which would be found in this file.
        let marker = concat!("#[ig", "nore");
        let mut used = BTreeSet::new();
        for file in sources() {
            let text = fs::read_to_string(&file).unwrap();
            for after in text.split(marker).skip(1) {
                let (reason, rest) = after.split_once(']').unwrap();
                let reason = reason.trim_start_matches(" = ").trim_matches('"');
                if reason.contains("started by") {
                    continue;
                }
                let function = rest.split_once("fn ").unwrap().1.split_once('(').unwrap().0;
                let module = file.with_extension("").to_string_lossy().replace('/', "::");
                let path = format!("{module}::{function}");
                if reason == soak::REASON {
                    let jobs = soak::JOBS.iter().filter(|job| job.runs(&path));
                    assert_eq!(jobs.count(), 1, "{path} belongs to one part of the soak");
                    continue;
                }
                let matches = |known: &&Prerequisite| {
                    known.filters().iter().any(|filter| path.contains(filter))
                };
                let needed: Vec<_> =
                    Prerequisite::value_variants().iter().filter(matches).collect();
                assert_eq!(needed.len(), 1, "{path}: {reason}: {needed:?}");
                assert_eq!(needed[0].reason(), reason, "{path}");
                used.insert(reason.to_owned());
            }
        }
        assert_eq!(used.len(), Prerequisite::value_variants().len(), "{used:?}");
    }

    /// Each test in the tables of `docs/reliability.md` exists: a file or folder, or a function.
    #[test]
    fn documented_tests_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let all: String = sources().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        let page = fs::read_to_string(root.join("docs/reliability.md")).unwrap();
        let (mut in_table, mut checked) = (false, 0);
        for line in page.lines() {
            let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
                in_table = false;
                continue;
            };
            let last = row.rsplit('|').next().unwrap().trim();
            // Quoted names are every second piece.
            for name in last.split('`').skip(1).step_by(2).filter(|_| in_table) {
                let function = format!("fn {name}(");
                let exists = if name.contains('/') {
                    root.join(name).exists()
                } else {
                    all.contains(&function)
                };
                assert!(exists, "docs/reliability.md names the test {name}, which does not exist");
                checked += 1;
            }
            in_table |= last == "Test";
        }
        assert!(checked > 50, "only {checked} names were checked");
    }
}
