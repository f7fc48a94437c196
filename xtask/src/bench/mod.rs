//! `cargo xtask bench`: speed and memory of fine-tuning, classification and generation, and of Python
//! programs that do the same work in the same run.

mod breakdown;
mod contender;
mod distributed;
mod growth;
mod protocol;
mod python_contender;
mod results;
mod rounds;
mod rust_contender;
mod table;
mod venv;

use std::{
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use storage::{create_directory, write_json};

use crate::{
    dataset, libtorch,
    workspace::{Lock, target_folder},
};
use contender::Contender;
use results::{Process, Results};
use rounds::{Course, Inference, Plan, Trainee};
use rust_contender::PACKED;

pub const HELP: &str = "\
Contenders in training: packed (the default recipe) and book (--recipe book); in Python
pytorch (the book's program), peft and peft-compiled (PEFT on transformers with
scaled_dot_product_attention, batches grouped by length and padded to their longest
example, without and with torch.compile). If named with --only: packed-libtorch (packed
without the CPU kernels), packed-checkpointed, packed-bfloat16, packed-bfloat16-libtorch,
peft-bfloat16.
Contenders in training of a language model, on random tokens, with the loss of all tokens,
if named with --only: language-model, language-model-libtorch, language-model-bfloat16; in
Python peft-language-model (batches padded to their longest example),
peft-language-model-grouped (grouped by length as well), peft-language-model-packed (examples
one behind the other in one row), peft-language-model-compiled, peft-language-model-bfloat16,
peft-language-model-packed-bfloat16.
Contenders in classification: predict; in Python transformers and transformers-compiled
(sorted by length, each batch padded to its longest example, without and with
torch.compile). If named with --only: predict-libtorch, predict-bfloat16,
predict-bfloat16-libtorch, transformers-bfloat16.
Contenders in text generation, greedily for 8 prompts and 128 new tokens each: generate; in
Python transformers-generate (padded on the left, with its default key-value cache).

Every contender loads a randomly initialized GPT-2 124M and stays in memory until the
end, which takes GBs for each. They work in turn. Times are relative to the first contender
of each table. Batches grouped by length are other batches of the same examples: only whole
epochs, the default, are the same work.

Examples:
  cargo xtask bench
  cargo xtask bench --peers --threads 1 --json bench.json
  cargo xtask bench --peers --only packed-bfloat16,peft-bfloat16
  cargo xtask bench --python venv/bin/python --only packed,peft --rounds 3
  cargo xtask bench --peers --steps 8 --only language-model,peft-language-model
  cargo xtask bench --growth
  cargo xtask bench --distributed
  cargo xtask bench --breakdown";

/// Default number of steps per round: a tenth of an epoch of the recipe.
const STEPS: u32 = 13;

#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Measure Python programs, too, in an environment that pip creates in
    /// target/bench/venv
    #[arg(long)]
    peers: bool,
    /// Measure Python programs, too, with this Python, which has torch, transformers
    /// and peft
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Contenders to measure
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Number of rounds [default: one epoch]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Training steps per round
    #[arg(long, value_name = "K", default_value_t = STEPS,
          value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Threads of each contender [default: number of processors]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Table to train on [default: the SMS Spam Collection]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Measure instead how time and memory of a step grow with batch size, length,
    /// layers and rank
    #[arg(long, conflicts_with_all = ["peers", "python", "only", "rounds", "steps", "data"])]
    growth: bool,
    /// Measure instead where the time of a training step goes: the share and the speed of each
    /// kind of work, next to the measured limit of the CPU
    #[arg(long, conflicts_with_all = ["peers", "python", "only", "rounds", "growth"])]
    breakdown: bool,
    /// Measure instead a training step and its sum of gradients in 1, 2 and 4 processes on this
    /// machine, next to a copy of the gradients
    #[arg(long, conflicts_with_all = ["peers", "python", "only", "rounds", "growth", "breakdown"])]
    distributed: bool,
    /// Write results and all measured times to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Train,
    LanguageModel,
    Classify,
    Generate,
}

/// Language of a contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Rust,
    Python,
}

/// Contenders that run only if they are named. Those in bfloat16 are slow on CPUs without
/// instructions for it; language models of Python take several GB each.
const BY_NAME: [&str; 18] = [
    "packed-libtorch",
    "packed-checkpointed",
    "packed-bfloat16",
    "packed-bfloat16-libtorch",
    "peft-bfloat16",
    "language-model",
    "language-model-libtorch",
    "language-model-bfloat16",
    "peft-language-model",
    "peft-language-model-grouped",
    "peft-language-model-packed",
    "peft-language-model-compiled",
    "peft-language-model-bfloat16",
    "peft-language-model-packed-bfloat16",
    "predict-libtorch",
    "predict-bfloat16",
    "predict-bfloat16-libtorch",
    "transformers-bfloat16",
];

/// All contenders, in the order in which they run.
const ALL: [(&str, Language, Work); 28] = [
    (PACKED, Language::Rust, Work::Train),
    ("packed-libtorch", Language::Rust, Work::Train),
    ("packed-checkpointed", Language::Rust, Work::Train),
    ("packed-bfloat16", Language::Rust, Work::Train),
    ("packed-bfloat16-libtorch", Language::Rust, Work::Train),
    ("book", Language::Rust, Work::Train),
    ("pytorch", Language::Python, Work::Train),
    ("peft", Language::Python, Work::Train),
    ("peft-compiled", Language::Python, Work::Train),
    ("peft-bfloat16", Language::Python, Work::Train),
    ("language-model", Language::Rust, Work::LanguageModel),
    ("language-model-libtorch", Language::Rust, Work::LanguageModel),
    ("language-model-bfloat16", Language::Rust, Work::LanguageModel),
    ("peft-language-model", Language::Python, Work::LanguageModel),
    ("peft-language-model-grouped", Language::Python, Work::LanguageModel),
    ("peft-language-model-packed", Language::Python, Work::LanguageModel),
    ("peft-language-model-compiled", Language::Python, Work::LanguageModel),
    ("peft-language-model-bfloat16", Language::Python, Work::LanguageModel),
    ("peft-language-model-packed-bfloat16", Language::Python, Work::LanguageModel),
    ("predict", Language::Rust, Work::Classify),
    ("predict-libtorch", Language::Rust, Work::Classify),
    ("predict-bfloat16", Language::Rust, Work::Classify),
    ("predict-bfloat16-libtorch", Language::Rust, Work::Classify),
    ("transformers", Language::Python, Work::Classify),
    ("transformers-compiled", Language::Python, Work::Classify),
    ("transformers-bfloat16", Language::Python, Work::Classify),
    ("generate", Language::Rust, Work::Generate),
    ("transformers-generate", Language::Python, Work::Generate),
];

pub fn bench(root: &Path, args: &BenchArgs) -> Result<()> {
    let chosen = chosen(args)?;
    // Everything that may be missing is looked for before minutes of building.
    if let Some(json) = &args.json {
        let folder = json.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            bail!("{} cannot be written: make its folder first", json.display());
        }
    }
    if !args.growth {
        check_data(root, args.data.as_deref())?;
    }
    libtorch::ensure(root)?;
    let folder = target_folder(root).join("bench");
    create_directory(&folder)?;
    let _lock = Lock::take(&folder.join("lock"), "benchmark")?;
    let threads = match args.threads {
        Some(threads) => usize::try_from(threads)?,
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    if args.growth {
        let program = rust_contender::build(root)?;
        let grown = growth::measure(root, &program, &folder, threads)?;
        tell!("{}", growth::text(&grown).trim_end());
        return write(args.json.as_deref(), &grown);
    }
    if args.breakdown {
        let data = args.data.as_deref();
        let breakdown = breakdown::measure(root, &folder, data, args.steps, threads)?;
        tell!("{}", breakdown::text(&breakdown, threads).trim_end());
        return write(args.json.as_deref(), &breakdown);
    }
    if args.distributed {
        let data = args.data.as_deref();
        let shared = distributed::measure(root, &folder, data, args.steps, threads)?;
        tell!("{}", distributed::text(&shared).trim_end());
        return write(args.json.as_deref(), &shared);
    }
    let results = compare(root, args, chosen, &folder, threads)?;
    tell!("{}", table::text(&results).trim_end());
    write(args.json.as_deref(), &results)
}

/// Refuses to start without the messages to train on.
fn check_data(root: &Path, option: Option<&Path>) -> Result<()> {
    match option {
        Some(data) if !data.is_file() => bail!("--data: {} does not exist", data.display()),
        None if !root.join(dataset::COLLECTION).is_file() => bail!(
            "{} is missing: run `cargo xtask fetch-dataset`, or give --data FILE",
            dataset::COLLECTION
        ),
        _ => Ok(()),
    }
}

/// Runs the contenders in turn.
fn compare(
    root: &Path,
    args: &BenchArgs,
    chosen: Vec<(&'static str, Language, Work)>,
    folder: &Path,
    threads: usize,
) -> Result<Results> {
    let has_peers = chosen.iter().any(|(_, language, _)| *language == Language::Python);
    let python = match &args.python {
        _ if !has_peers => PathBuf::new(),
        Some(python) => venv::given(python)?,
        None => venv::ensure(root, &folder.join("venv"))?,
    };
    let peers = python_contender::write(folder)?;
    let program = rust_contender::build(root)?;
    let job_folder = folder.join("job");
    let job = rust_contender::write_job(root, &program, &job_folder, args.data.as_deref())?;

    let epochs = [job.steps(), job.language_model_steps()];
    let has_only_language_models = chosen.iter().all(|(.., work)| *work == Work::LanguageModel);
    let steps_per_epoch = epochs[usize::from(has_only_language_models)];
    let whole_epoch = u32::try_from(steps_per_epoch)?.div_ceil(args.steps);
    let rounds = args.rounds.unwrap_or(whole_epoch);
    let plan = Plan { rounds, steps: args.steps };
    let mut results = results::heading(plan, steps_per_epoch, threads);
    let mut courses = epochs.map(|steps_per_epoch| Course { steps_per_epoch, ..Course::default() });
    let mut inferences = [Vec::new(), Vec::new()];
    // One after the other: loading is measured too.
    for (name, language, work) in chosen {
        let command = match language {
            Language::Rust => rust_contender::contender(root, &program, name, &job_folder, threads),
            Language::Python => {
                python_contender::contender(&python, &peers, name, &job_folder, threads)
            }
        };
        say!("loading {name}");
        let mut one = Contender::start(name, command, &folder.join(format!("{name}.log")))?;
        results.versions.append(&mut one.ready.versions);
        match work {
            Work::Train => courses[0].trainees.push(Trainee::new(one, name == PACKED)),
            Work::LanguageModel => courses[1].trainees.push(Trainee::new(one, false)),
            Work::Classify => inferences[0].push(Inference::classifying(one)),
            Work::Generate => inferences[1].push(Inference::generating(one)),
        }
    }
    say!("warming up");
    rounds::run(plan, &mut courses, &mut inferences, &mut |line| say!("{line}"))?;
    conclude(&mut results, courses, inferences)?;
    Ok(results)
}

/// Contenders to measure.
fn chosen(args: &BenchArgs) -> Result<Vec<(&'static str, Language, Work)>> {
    for name in &args.only {
        let Some((_, language, _)) = ALL.iter().find(|(known, ..)| known == name) else {
            let known: Vec<&str> = ALL.iter().map(|(name, ..)| *name).collect();
            bail!("--only knows no {name}: it takes {}", known.join(", "));
        };
        if *language == Language::Python && !args.peers && args.python.is_none() {
            bail!(
                "{name} is a Python program: add --peers, or --python with a Python that can run it"
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
    courses: [Course; 2],
    [classifiers, generators]: [Vec<Inference>; 2],
) -> Result<()> {
    let mut roofs = Vec::new();
    let mut trained = Vec::new();
    for Course { steps_per_epoch, trainees } in courses {
        let mut all = Vec::new();
        for mut trainee in trainees {
            roofs.append(&mut trainee.roofs);
            all.push((quit(trainee.contender)?, trainee.chunks));
        }
        trained.push(results::training(all, steps_per_epoch));
    }
    let summed = |all: Vec<Inference>| -> Result<_> {
        let end = |one: Inference| Ok((quit(one.contender)?, one.passes));
        Ok(results::evaluation(all.into_iter().map(end).collect::<Result<_>>()?))
    };
    results.evaluation = summed(classifiers)?;
    results.generation = summed(generators)?;
    results.language_modeling = trained.pop().unwrap_or_default();
    results.training = trained.pop().unwrap_or_default();
    let packed = results.training.iter().find(|one| one.process.name == PACKED);
    results.roof = packed.and_then(|packed| results::share(packed, roofs));
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

/// Writes all results to the file of `--json`, if there is one.
fn write(file: Option<&Path>, results: &impl Serialize) -> Result<()> {
    Ok(file.map_or(Ok(()), |file| write_json(file, results))?)
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
    fn peers_are_measured_on_request() {
        assert_eq!(names(&[]).unwrap(), ["packed", "book", "predict", "generate"]);
        let peers = names(&["--peers"]).unwrap();
        assert_eq!(peers[..5], ["packed", "book", "pytorch", "peft", "peft-compiled"]);
        assert_eq!(peers[5..8], ["predict", "transformers", "transformers-compiled"]);
        assert_eq!(peers[8..], ["generate", "transformers-generate"]);
        assert_eq!(names(&["--python", "python3"]).unwrap(), peers);
        let some = ["--peers", "--only", "pytorch,packed"];
        assert_eq!(names(&some).unwrap(), ["packed", "pytorch"]);
        assert_eq!(names(&["--only", "packed-bfloat16"]).unwrap(), ["packed-bfloat16"]);
        assert!(names(&["--growth", "--peers"]).is_err());
        let error = names(&["--only", "pytorch"]).unwrap_err().to_string();
        assert!(error.contains("add --peers"), "{error}");
        let error = names(&["--only", "packt"]).unwrap_err().to_string();
        assert!(
            error.starts_with("--only knows no packt: it takes packed, packed-libtorch, "),
            "{error}"
        );
    }

    #[test]
    fn contenders_exist() {
        let program = include_str!("peers.py");
        for (name, ..) in ALL.iter().filter(|(_, language, _)| *language == Language::Python) {
            assert!(program.contains(&format!("    \"{name}\": (")), "{name}");
        }
        assert!(BY_NAME.iter().all(|name| ALL.iter().any(|(known, ..)| known == name)));
        assert!(ALL.iter().all(|(name, ..)| HELP.contains(name)));
    }

    #[test]
    fn missing_data_is_reported_before_anything_is_built() {
        let root = tempfile::tempdir().unwrap();
        let error = check_data(root.path(), None).unwrap_err().to_string();
        assert!(error.contains("SMSSpamCollection is missing: run `cargo xtask fetch-dataset`"));
        let error = check_data(root.path(), Some(Path::new("none.csv"))).unwrap_err().to_string();
        assert_eq!(error, "--data: none.csv does not exist");
    }

    #[test]
    fn zero_steps_are_refused() {
        for option in ["--steps", "--rounds", "--threads"] {
            assert!(names(&[option, "0"]).is_err());
        }
    }

    #[test]
    fn run_is_summarized_and_written() {
        let folder = tempfile::tempdir().unwrap();
        let fake = |name: &str, seconds: &str| start(folder.path(), name, FAKE, seconds).unwrap();
        let trainees =
            vec![Trainee::new(fake("packed", "1.0"), true), Trainee::new(fake("book", "2"), false)];
        let language_models = vec![Trainee::new(fake("language-model", "1.0"), false)];
        let mut courses = [
            Course { steps_per_epoch: 130, trainees },
            Course { steps_per_epoch: 8, trainees: language_models },
        ];
        let mut inferences = [
            vec![Inference::classifying(fake("predict", "0.5"))],
            vec![Inference::generating(fake("generate", "0.25"))],
        ];
        let plan = Plan { rounds: 2, steps: 5 };
        rounds::run(plan, &mut courses, &mut inferences, &mut |_| {}).unwrap();
        let mut results = results::heading(plan, 130, 2);
        conclude(&mut results, courses, inferences).unwrap();
        let file = folder.path().join("bench.json");
        write(Some(&file), &results).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(json["training"][0]["seconds_per_epoch"], 26.0);
        assert_eq!(json["training"][0]["peak_memory_bytes"], 1 << 20);
        assert_eq!(json["training"][1]["ratio"]["median"], 2.0);
        assert_eq!(json["training"][1]["chunks"][1]["seconds"], 2.0);
        assert_eq!(json["language_modeling"][0]["seconds_per_epoch"], 1.6);
        assert_eq!(json["evaluation"][0]["rows_per_second"], 600.0);
        assert_eq!(json["generation"][0]["rows_per_second"], 1200.0);
        // 500 tokens a second at a billion operations each, of 100 Gflop/s.
        assert_eq!(json["roof"]["libraries"][0]["share"], 5.0);
        assert!(!part_of(&file).exists());
    }
}
