//! Training as a command: what both binaries do with the same arguments.

use std::io::Write;

use crate::{
    args::TrainArgs,
    console::Console,
    error::{Error, Result},
    observer::Observer,
    run::run,
};

/// Examples for the help of the command.
pub const TRAIN_EXAMPLES: &str = "\
Examples:
  the spam recipe on GPT-2 124M:          (no options)
  the book's run:                         --recipe book --out runs/book
  rank 8 on queries and values only:      --rank 8 --target-modules q,v
  another base, other messages:           --model DIR --data FILE --seed 7";

/// Runs what the arguments say, shows it on standard error, and prints the
/// report to standard output.
///
/// # Errors
/// Whatever is wrong, in one sentence.
pub fn train(args: &TrainArgs) -> Result<()> {
    let config = args.resolve()?;
    let mut console = Console::new(args.print_model);
    if let Some((file, _)) = args.suggested(&config.model)? {
        console.notice(&format!("defaults are what {} suggests", file.display()));
    }
    let report = run(&config, &mut console)?;
    let text = if args.json {
        let json = serde_json::to_string_pretty(&report)
            .map_err(|error| Error::Config(format!("the report cannot be printed: {error}")))?;
        json + "\n"
    } else {
        report.to_table()
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|source| Error::Write { path: "standard output".into(), source })
}
