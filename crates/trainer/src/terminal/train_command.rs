//! The train command of both binaries.

use std::{env, ffi::OsString, fmt::Display, fs, io::Write, path::Path, time::Duration};

use distributed::{Group, Place};
use serde::Serialize;

use crate::{
    config::{
        layers::RESOLVED_FILE,
        options::{Output, TrainArgs},
        resolve::ResolvedRun,
    },
    error::{Error, Result},
    process::{prepare_process, stop_on_signals},
    reports::Report,
    run::{
        dry_run::dry_run,
        seeds::{SeedsReport, run_seeds},
        start::{self, Control},
    },
    terminal::{
        console::{Console, ShowModel},
        dry_run_table,
    },
    training::observer::Observer,
};

/// Examples for the help of the command.
pub const TRAIN_EXAMPLES: &str = "\
Examples:
  the spam recipe on GPT-2 124M:          (no options)
  the book's run:                         --recipe book --out runs/book
  estimate of time and memory:            --dry-run
  all weights instead of an adapter:      --train all --lr 5e-5
  rank 8 on queries and values only:      --rank 8 --target-modules q,v
  mean and standard deviation over seeds: --seeds 1,2,3,4,5
  another base model and data:            --model DIR --data FILE --seed 7
  resume after Ctrl-C or a crash:         --config runs/x/run.toml --out runs/x --resume";

/// Examples for the help of the pretrain command.
pub const PRETRAIN_EXAMPLES: &str = "\
Examples:
  the shape of a model, random weights:  --model weights/pocket --data talk.txt --out runs/small
  resume after Ctrl-C or a crash:        --config runs/small/run.toml --out runs/small --resume
  continue from trained weights:         --model runs/small/model --random-init=false --lr 3e-4";

/// Carries out a run with progress on standard error, and prints the report to standard output.
/// Ctrl-C or a request to terminate ends the run after a checkpoint and prints the command that
/// resumes it; a second one ends it at once.
///
/// If a launcher such as `torchrun` has started several processes, they carry out the run together,
/// and rank 0 prints and writes.
///
/// To be called before the process starts a thread or computes with libtorch: with
/// [`Arithmetic::Stepwise`](gpt2_model::Arithmetic::Stepwise) it may set `ATEN_CPU_CAPABILITY`
/// in the environment.
///
/// # Errors
/// Any error of the run, as one sentence.
pub fn train(args: &TrainArgs) -> Result<()> {
    train_as_rank(args).inspect_err(report_to_torchrun)
}

fn train_as_rank(args: &TrainArgs) -> Result<()> {
    let place = Place::of_environment()?;
    let follows = place.as_ref().is_some_and(|place| place.rank > 0);
    if follows && args.dry_run {
        return Ok(());
    }
    let resolved = args.resolve_in(if follows { Output::Planned } else { Output::Created })?;
    prepare_process(resolved.settings.machine.arithmetic.unwrap_or_default());
    let group = match place {
        Some(place) if !args.dry_run => Group::join(place, Duration::from_secs(args.timeout))?,
        _ => Group::alone(),
    };
    if follows {
        return follow(args, &resolved, group);
    }
    let show_model = match (args.print_model, args.json) {
        (false, _) => ShowModel::No,
        (true, false) => ShowModel::Stdout,
        (true, true) => ShowModel::Stderr,
    };
    let mut console = Console::new(show_model);
    if let Some(file) = &resolved.model_defaults {
        console.notice(&format!("defaults from {}", file.display()));
    }
    if args.dry_run {
        let found = dry_run(&resolved, &mut console)?;
        drop(console);
        let table = dry_run_table::to_table(&found)?;
        return print(&found, args.json, |_| table);
    }
    let control = Control { resume: args.resume, stop: stop_on_signals()?, group };
    if control.group.world() > 1 {
        console.notice(&format!("{} processes", control.group.world()));
    }
    let result = if resolved.settings.training.seeds.is_empty() {
        let report = start::run(&resolved, &control, &mut console);
        report.and_then(|report| print(&report, args.json, Report::to_table))
    } else {
        let report = run_seeds(&resolved, &control, &mut console);
        report.and_then(|report| print(&report, args.json, SeedsReport::to_table))
    };
    if result.is_err() && resolved.settings.out.is_none() {
        // Created for this run; not removed if it contains files.
        let _ = fs::remove_dir(&resolved.out);
    }
    if let Err(Error::Interrupted { .. }) = &result {
        console.notice(&format!("resume with: {}", resume_command(&resolved)));
    }
    result
}

/// Carries out a run as another rank than 0.
fn follow(args: &TrainArgs, run: &ResolvedRun, group: Group) -> Result<()> {
    let control = Control { resume: args.resume, stop: stop_on_signals()?, group };
    if run.settings.training.seeds.is_empty() {
        start::run(run, &control, &mut ()).map(drop)
    } else {
        run_seeds(run, &control, &mut ()).map(drop)
    }
}

/// Writes an error for the summary of `torchrun`, which names the file.
pub fn report_to_torchrun(error: &impl Display) {
    if let Some(path) = env::var_os("TORCHELASTIC_ERROR_FILE") {
        let report = serde_json::json!({ "message": error.to_string() });
        // The error itself is printed in any case.
        let _ = fs::write(path, report.to_string());
    }
}

/// Command that resumes a run.
fn resume_command(run: &ResolvedRun) -> String {
    let mut options = vec!["--config".to_owned(), quoted(&run.out.join(RESOLVED_FILE))];
    let seeds = &run.settings.training.seeds;
    if let Some(first) = seeds.first() {
        let all: Vec<String> = seeds.iter().map(u32::to_string).collect();
        options[1] = quoted(&run.out.join(format!("seed-{first}")).join(RESOLVED_FILE));
        options.extend(["--seeds".to_owned(), all.join(",")]);
    }
    options.extend(["--out".to_owned(), quoted(&run.out), "--resume".to_owned()]);
    format!("{} {}", started_as(env::args_os()), options.join(" "))
}

/// Command that this program was started with, up to its options: the program as it was
/// called (`target/debug/trainer`, `gpt2-lora`), with `train` if its training is a subcommand.
fn started_as(mut arguments: impl Iterator<Item = OsString>) -> String {
    let program = arguments.next().unwrap_or_default();
    let program = quoted(Path::new(&program));
    match arguments.next() {
        Some(command) if command == "train" || command == "pretrain" => format!("{program} train"),
        _ => program,
    }
}

/// Quotes a path for a POSIX shell.
fn quoted(path: &Path) -> String {
    // Only a NUL byte cannot be quoted, and paths do not contain one.
    shlex::try_quote(&path.display().to_string()).unwrap_or_default().into_owned()
}

/// Prints a report to standard output, as JSON or as a table.
pub fn print<T: Serialize>(
    report: &T,
    as_json: bool,
    table: impl FnOnce(&T) -> String,
) -> Result<()> {
    let text = if as_json {
        let json = serde_json::to_string_pretty(report)
            .map_err(|error| Error::serialize("report", &error))?;
        json + "\n"
    } else {
        table(report)
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(storage::Error::write("standard output"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_command_begins_as_it_was_typed() {
        for (given, expected) in [
            (&["target/debug/trainer", "--epochs", "3"][..], "target/debug/trainer"),
            (&["trainer"], "trainer"),
            (&["gpt2-lora", "train", "--epochs", "3"], "gpt2-lora train"),
            (&["/my bin/gpt2-lora", "pretrain"], "'/my bin/gpt2-lora' train"),
        ] {
            assert_eq!(started_as(given.iter().map(OsString::from)), expected);
        }
    }

    #[test]
    fn shell_reads_quoted_words_unchanged() {
        for word in ["runs/a-1", "two words", "it's", "$HOME `x` \"y\" \\", "", "a\nb\tc'd\\e"] {
            let script = format!("printf %s {}", quoted(Path::new(word)));
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word, "{script}");
        }
    }
}
