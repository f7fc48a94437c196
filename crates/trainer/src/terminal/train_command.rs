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
    let is_main = place.as_ref().is_none_or(|place| place.rank == 0);
    if args.dry_run {
        return if is_main { estimate(args) } else { Ok(()) };
    }
    let resolved = args.resolve_in(if is_main { Output::Created } else { Output::Planned });
    let created = resolved.as_ref().ok().filter(|run| is_main && run.settings.out.is_none());
    let created = created.map(|run| run.out.clone());
    let arithmetic = resolved.as_ref().ok().and_then(|run| run.settings.machine.arithmetic);
    prepare_process(arithmetic.unwrap_or_default());
    let joined = match place {
        Some(place) => Group::join(place, Duration::from_secs(args.timeout)),
        None => Ok(Group::alone()),
    };
    let result = match joined {
        // A rank with an error joins too, so that the others do not wait for it.
        Ok(group) => group.all_succeed(resolved).and_then(|run| carry_out(args, &run, group)),
        Err(error) => Err(resolved.err().unwrap_or(error.into())),
    };
    if result.is_err()
        && let Some(out) = created
    {
        // Created for this run; not removed if it contains files.
        let _ = fs::remove_dir(out);
    }
    result
}

/// Console, with a note of where defaults come from.
fn console(args: &TrainArgs, run: &ResolvedRun) -> Console {
    let mut console = Console::new(match (args.print_model, args.json) {
        (false, _) => ShowModel::No,
        (true, false) => ShowModel::Stdout,
        (true, true) => ShowModel::Stderr,
    });
    if let Some(file) = &run.model_defaults {
        console.notice(&format!("defaults from {}", file.display()));
    }
    console
}

/// Prints the result of a dry run.
fn estimate(args: &TrainArgs) -> Result<()> {
    let run = args.resolve()?;
    prepare_process(run.settings.machine.arithmetic.unwrap_or_default());
    let mut console = console(args, &run);
    let found = dry_run(&run, &mut console)?;
    drop(console);
    let table = dry_run_table::to_table(&found)?;
    print(&found, args.json, |_| table)
}

/// Carries out a run as one of the processes of a group.
fn carry_out(args: &TrainArgs, run: &ResolvedRun, group: Group) -> Result<()> {
    let (is_main, world) = (group.is_main(), group.world());
    group.agree("--seeds", format!("{:?}", run.settings.training.seeds).as_bytes())?;
    let control = Control { resume: args.resume, stop: stop_on_signals()?, group };
    let has_seeds = !run.settings.training.seeds.is_empty();
    if !is_main {
        return match has_seeds {
            false => start::run(run, &control, &mut ()).map(drop),
            true => run_seeds(run, &control, &mut ()).map(drop),
        };
    }
    let mut console = console(args, run);
    if world > 1 {
        console.notice(&format!("{world} processes share the run"));
    }
    let result = if has_seeds {
        let report = run_seeds(run, &control, &mut console);
        report.and_then(|report| print(&report, args.json, SeedsReport::to_table))
    } else {
        let report = start::run(run, &control, &mut console);
        report.and_then(|report| print(&report, args.json, Report::to_table))
    };
    if let Err(Error::Interrupted { .. }) = &result {
        let launcher = if world > 1 { ", with a launcher in front" } else { "" };
        console.notice(&format!("resume with: {}{launcher}", resume_command(run)));
    }
    result
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
