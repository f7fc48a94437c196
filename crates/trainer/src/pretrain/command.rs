//! Pretraining as a command.

use super::{
    args::PretrainArgs, console::PretrainConsole, events::PretrainObserver, report::PretrainReport,
    run::run,
};
use crate::{
    error::{Error, Result},
    terminal::train_command::{print, shell_word, stop_on_signals},
};

/// Examples for the help of the command.
pub const PRETRAIN_EXAMPLES: &str = "\
Examples:
  gpt2-lora pretrain --text talk.txt --config weights/pocket/config.json --out runs/small
  the same, stopped before:     … --resume
  on, from a model there is:    … --init weights/pocket --lr 3e-4 --epochs 2";

/// Runs what the arguments say, shows it on standard error, and prints the
/// report to standard output. Ctrl-C and a request to terminate end the run after
/// a checkpoint, a second one ends it at once.
///
/// # Errors
/// Whatever is wrong, in one sentence.
pub fn pretrain(args: &PretrainArgs) -> Result<()> {
    let config = args.resolve()?;
    let stop = stop_on_signals()?;
    let mut console = PretrainConsole::default();
    let report = run(&config, args.resume, &stop, &mut console);
    if let Err(Error::Stopped { .. }) = &report {
        console.notice(&format!("go on with: {}", resuming()));
    }
    print(&report?, args.json, PretrainReport::to_table)
}

/// The command that this program was started with, to go on.
fn resuming() -> String {
    let given = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = given.filter(|word| word != "--resume").collect();
    let words = words.iter().map(|word| shell_word(word)).collect::<Vec<_>>();
    format!("gpt2-lora {} --resume", words.join(" "))
}
