//! Training as a command: what both binaries do with the same arguments.

use std::io::Write;

use serde::Serialize;

use crate::{
    args::TrainArgs,
    console::{Console, ShowModel},
    error::{Error, Result},
    observer::Observer,
    process::prepare_process,
    report::Report,
    run::run,
    seeds::{SeedsReport, run_seeds},
};

/// Examples for the help of the command.
pub const TRAIN_EXAMPLES: &str = "\
Examples:
  the spam recipe on GPT-2 124M:          (no options)
  the book's run:                         --recipe book --out runs/book
  rank 8 on queries and values only:      --rank 8 --target-modules q,v
  how much is chance:                     --seeds 1,2,3,4,5
  another base, other messages:           --model DIR --data FILE --seed 7";

/// Runs what the arguments say, shows it on standard error, and prints the
/// report to standard output.
///
/// To be called by a program that has neither started a thread nor computed with
/// libtorch: with [`Arithmetic::Stepwise`](gpt2_model::Arithmetic::Stepwise) it
/// may set `ATEN_CPU_CAPABILITY` in the environment.
///
/// # Errors
/// Whatever is wrong, in one sentence.
pub fn train(args: &TrainArgs) -> Result<()> {
    let args = args.with_file()?;
    let config = args.resolve()?;
    prepare_process(config.arithmetic);
    let show_model = match (args.print_model, args.json) {
        (false, _) => ShowModel::No,
        (true, false) => ShowModel::Stdout,
        (true, true) => ShowModel::Stderr,
    };
    let mut console = Console::new(show_model);
    if let Some((file, _)) = args.suggested(&config.model)? {
        console.notice(&format!("defaults are what {} suggests", file.display()));
    }
    if args.seeds.is_empty() {
        let report = run(&config, &mut console)?;
        print(&report, args.json, Report::to_table)
    } else {
        let report = run_seeds(&config, &args.seeds, &mut console)?;
        print(&report, args.json, SeedsReport::to_table)
    }
}

/// Prints a report to standard output, as JSON or as a table.
pub(crate) fn print<T: Serialize>(
    report: &T,
    as_json: bool,
    table: fn(&T) -> String,
) -> Result<()> {
    let text = if as_json {
        let json = serde_json::to_string_pretty(report)
            .map_err(|error| Error::Config(format!("the report cannot be printed: {error}")))?;
        json + "\n"
    } else {
        table(report)
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|source| Error::Write { path: "standard output".into(), source })
}
