//! Pretraining as a command.

use super::{args::PretrainArgs, console::PretrainConsole, report::PretrainReport, run::run};
use crate::{
    command::{print, stop_on_signals},
    error::Result,
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
    let report = run(&config, args.resume, &stop, &mut PretrainConsole::default())?;
    print(&report, args.json, PretrainReport::to_table)
}
