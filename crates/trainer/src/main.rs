//! The `trainer` command: LoRA fine-tuning of GPT-2 on labelled text.

use std::process::ExitCode;

use clap::Parser;
use trainer::{Console, TrainArgs, run};

/// Fine-tune GPT-2 with LoRA into a classifier of labelled text
///
/// Without options: the spam recipe on weights/gpt2 and datasets/sms-spam, which
/// `cargo xtask fetch-weights` and `cargo xtask fetch-dataset` fetch.
#[derive(Parser)]
#[command(name = "trainer", version, after_help = EXAMPLES)]
struct Program {
    #[command(flatten)]
    train: TrainArgs,
}

const EXAMPLES: &str = "\
Examples:
  trainer                                     the spam recipe on GPT-2 124M
  trainer --recipe book --out runs/book       the book's run, to the digit
  trainer --rank 8 --target-modules q,v       rank 8 on queries and values only
  trainer --model DIR --data FILE --seed 7    another base, other messages";

fn main() -> ExitCode {
    let args = Program::parse().train;
    match trainer::command(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
