//! `cargo xtask bench`: how long our fine-tuning takes beside programs of Python
//! that do the same, all in one run.

mod answers;
mod contender;
mod growth;
mod peers;
mod results;
mod rounds;
mod rust;
mod table;
mod venv;

use std::{
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::{
    durable::{make_folder, write_whole},
    libtorch,
    root::{Lock, target_folder},
};
use contender::Contender;
use results::{Process, Results};
use rounds::{Classifier, Plan, Trainee};

pub const HELP: &str = "\
Contenders that train: packed (the default), book (--recipe book), when they are
named packed-bfloat16 and packed-checkpointed (the options of these names), and of
the peers pytorch (the book's program), peft-max-length and peft-longest (PEFT on
transformers, padded as the book or only as far as a batch needs).
Contenders that classify: predict, and of the peers transformers.

Every contender loads a GPT-2 124M with random weights and stays in memory to the
end, which takes GBs of it each. They are asked for work in turn.

Examples:
  cargo xtask bench
  cargo xtask bench --peers --threads 1 --json bench.json
  cargo xtask bench --python venv/bin/python --only packed,peft-longest --rounds 3
  cargo xtask bench --growth";

/// Steps of a round that nobody has chosen: a tenth of an epoch of the recipe.
const STEPS: u32 = 13;

#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Measure programs of Python too, in an environment that is made for them
    /// in target/bench/venv with the user's pip
    #[arg(long)]
    peers: bool,
    /// Measure programs of Python too, with this Python, which has torch,
    /// transformers and peft
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Measure these alone
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds in which everyone is asked [default: as many as an epoch needs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Training steps in a round
    #[arg(long, value_name = "K", default_value_t = STEPS,
          value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Threads of each contender [default: as many as there are processors]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Messages to train on [default: those that `trainer` takes]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Measure instead how a step's time and memory grow with rows, tokens, layers
    /// and rank
    #[arg(long, conflicts_with_all = ["peers", "python", "only", "rounds", "steps", "data"])]
    growth: bool,
    /// Write results and every single time to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What a contender does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Train,
    Classify,
}

/// What a contender is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Rust,
    Python,
}

/// Those who are asked only if they are named.
const BY_NAME: [&str; 2] = ["packed-bfloat16", "packed-checkpointed"];

/// Everyone there is, in the order in which they are asked.
const ALL: [(&str, Language, Work); 9] = [
    (results::TRAINING_BASELINE, Language::Rust, Work::Train),
    (BY_NAME[0], Language::Rust, Work::Train),
    (BY_NAME[1], Language::Rust, Work::Train),
    ("book", Language::Rust, Work::Train),
    ("pytorch", Language::Python, Work::Train),
    ("peft-max-length", Language::Python, Work::Train),
    ("peft-longest", Language::Python, Work::Train),
    (results::EVALUATION_BASELINE, Language::Rust, Work::Classify),
    ("transformers", Language::Python, Work::Classify),
];

pub fn bench(root: &Path, args: &BenchArgs) -> Result<()> {
    let chosen = chosen(args)?;
    if let Some(json) = &args.json {
        // Better now than when everything is measured.
        let folder = json.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            bail!("{} cannot be written: make its folder first", json.display());
        }
    }
    libtorch::ensure(root)?;
    let folder = target_folder(root).join("bench");
    make_folder(&folder)?;
    let _lock = Lock::take(&folder.join("lock"), "benchmark")?;

    let threads = match args.threads {
        Some(threads) => usize::try_from(threads)?,
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    if args.growth {
        let program = rust::build(root)?;
        let grown = growth::measure(root, &program, &folder, threads)?;
        print!("{}", growth::text(&grown));
        return args.json.as_ref().map_or(Ok(()), |json| write(json, &grown));
    }
    let has_peers = chosen.iter().any(|(_, language, _)| *language == Language::Python);
    let python = match &args.python {
        _ if !has_peers => PathBuf::new(),
        Some(python) => venv::given(python)?,
        None => venv::ensure(root, &folder.join("venv"))?,
    };
    let peers = peers::write(&folder)?;
    let program = rust::build(root)?;
    let job_folder = folder.join("job");
    let job = rust::write_job(root, &program, &job_folder, args.data.as_deref())?;

    let whole_epoch = u32::try_from(job.steps())?.div_ceil(args.steps);
    let plan = Plan { rounds: args.rounds.unwrap_or(whole_epoch), steps: args.steps };
    let mut results = results::heading(plan, threads, job.steps());
    let (mut trainees, mut classifiers) = (Vec::new(), Vec::new());
    // One after the other: loading is measured too.
    for (name, language, work) in chosen {
        let command = match language {
            Language::Rust => rust::contender(root, &program, name, &job_folder, threads),
            Language::Python => peers::contender(&python, &peers, name, &job_folder, threads),
        };
        say!("loading {name}");
        let mut one = Contender::start(name, command, &folder.join(format!("{name}.log")))?;
        results.versions.append(&mut one.ready.versions);
        match work {
            Work::Train => {
                trainees.push(Trainee::new(one, name == results::TRAINING_BASELINE));
            }
            Work::Classify => classifiers.push(Classifier::new(one)),
        }
    }
    say!("warming up");
    rounds::run(plan, &mut trainees, &mut classifiers, &mut |line| say!("{line}"))?;
    conclude(&mut results, trainees, classifiers)?;
    print!("{}", table::text(&results));
    args.json.as_ref().map_or(Ok(()), |json| write(json, &results))
}

/// Who is to be measured.
fn chosen(args: &BenchArgs) -> Result<Vec<(&'static str, Language, Work)>> {
    for name in &args.only {
        let Some((_, language, _)) = ALL.iter().find(|(known, ..)| known == name) else {
            let known: Vec<&str> = ALL.iter().map(|(name, ..)| *name).collect();
            bail!("--only knows no {name}: it takes {}", known.join(", "));
        };
        if *language == Language::Python && !args.peers && args.python.is_none() {
            bail!(
                "{name} is a program of Python: add --peers, or --python with one that can run it"
            );
        }
    }
    let is_chosen = |(name, language, _): &(&str, Language, Work)| {
        let is_possible = *language == Language::Rust || args.peers || args.python.is_some();
        let is_named = args.only.iter().any(|one| one == name);
        let is_asked = args.only.is_empty() && !BY_NAME.contains(name);
        is_possible && (is_named || is_asked)
    };
    Ok(ALL.into_iter().filter(is_chosen).collect())
}

/// Ends everyone and sums up.
fn conclude(
    results: &mut Results,
    trainees: Vec<Trainee>,
    classifiers: Vec<Classifier>,
) -> Result<()> {
    let (mut roofs, mut trained, mut evaluated) = (Vec::new(), Vec::new(), Vec::new());
    for mut trainee in trainees {
        roofs.append(&mut trainee.roofs);
        trained.push((quit(trainee.contender)?, trainee.chunks));
    }
    for classifier in classifiers {
        evaluated.push((quit(classifier.contender)?, classifier.passes));
    }
    results.training = results::training(trained, results.steps_per_epoch);
    results.evaluation = results::evaluation(evaluated);
    let mut training = results.training.iter();
    let baseline = training.find(|one| one.process.name == results::TRAINING_BASELINE);
    results.roof = baseline.and_then(|baseline| results::share(baseline, roofs));
    Ok(())
}

fn quit(contender: Contender) -> Result<Process> {
    Ok(Process {
        name: contender.name.clone(),
        start_seconds: contender.start_seconds,
        load_seconds: contender.ready.load_seconds,
        peak_memory_bytes: contender.quit()?,
    })
}

/// Writes all results to a file.
fn write(file: &Path, results: &impl Serialize) -> Result<()> {
    write_whole(file, &(serde_json::to_string_pretty(results)? + "\n"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::net::part_of;
    use clap::Parser;
    use contender::tests::{FAKE, start};

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn names(arguments: &[&str]) -> Result<Vec<&'static str>> {
        let words = std::iter::once("bench").chain(arguments.iter().copied());
        let chosen = chosen(&Program::try_parse_from(words)?.args)?;
        Ok(chosen.into_iter().map(|(name, ..)| name).collect())
    }

    #[test]
    fn peers_are_measured_when_they_are_asked_for() {
        assert_eq!(names(&[]).unwrap(), ["packed", "book", "predict"]);
        assert_eq!(names(&["--peers"]).unwrap().len(), 7);
        assert_eq!(names(&["--python", "python3"]).unwrap().len(), 7);
        let some = ["--peers", "--only", "pytorch,packed"];
        assert_eq!(names(&some).unwrap(), ["packed", "pytorch"]);
        assert_eq!(names(&["--only", "packed-bfloat16"]).unwrap(), ["packed-bfloat16"]);
        assert!(names(&["--growth", "--peers"]).is_err());
        let error = names(&["--only", "pytorch"]).unwrap_err().to_string();
        assert!(error.contains("add --peers"), "{error}");
        let error = names(&["--only", "packt"]).unwrap_err().to_string();
        assert!(
            error.starts_with("--only knows no packt: it takes packed, packed-bfloat16, "),
            "{error}"
        );
    }

    #[test]
    fn nothing_is_no_number_of_steps() {
        for option in ["--steps", "--rounds", "--threads"] {
            assert!(names(&[option, "0"]).is_err());
        }
    }

    #[test]
    fn a_run_is_summed_up_and_written() {
        let folder = tempfile::tempdir().unwrap();
        let fake = |name: &str, seconds: &str| start(folder.path(), name, FAKE, seconds).unwrap();
        let mut trainees =
            vec![Trainee::new(fake("packed", "1.0"), true), Trainee::new(fake("book", "2"), false)];
        let mut classifiers = vec![Classifier::new(fake("predict", "0.5"))];
        let plan = Plan { rounds: 2, steps: 5 };
        rounds::run(plan, &mut trainees, &mut classifiers, &mut |_| {}).unwrap();
        let mut results = results::heading(plan, 2, 130);
        conclude(&mut results, trainees, classifiers).unwrap();
        let file = folder.path().join("bench.json");
        write(&file, &results).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(json["training"][0]["seconds_per_epoch"], 26.0);
        assert_eq!(json["training"][0]["peak_memory_bytes"], 1 << 20);
        assert_eq!(json["training"][1]["ratio"]["median"], 2.0);
        assert_eq!(json["training"][1]["chunks"][1]["seconds"], 2.0);
        assert_eq!(json["evaluation"][0]["messages_per_second"], 600.0);
        // 500 tokens a second at a billion operations each, of 100 Gflop/s.
        assert_eq!(json["roof"]["libraries"][0]["share"], 5.0);
        assert!(!part_of(&file).exists());
    }
}
