//! The `trainer` command: LoRA fine-tuning of GPT-2 on labelled text.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use trainer::TrainArgs;

/// Fine-tune GPT-2 with LoRA into a classifier of labelled text
///
/// Without options: the spam recipe on weights/gpt2 and datasets/sms-spam, which
/// `cargo xtask fetch-weights` and `cargo xtask fetch-dataset` fetch.
#[derive(Parser)]
#[command(name = "trainer", version, after_help = trainer::TRAIN_EXAMPLES)]
struct Program {
    #[command(flatten)]
    train: TrainArgs,
}

fn main() -> ExitCode {
    match trainer::train(&Program::parse().train) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // `eprintln!` would panic where nobody reads any more.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
