//! The `trainer` command: fine-tuning of GPT-2 with LoRA or of its own weights.

use std::process::ExitCode;

use clap::Parser;
use trainer::{TrainArgs, process::run_main, remedy};

/// Fine-tune GPT-2 as a classifier or a language model, with LoRA by default
///
/// Without options: the spam recipe on weights/gpt2 and datasets/sms-spam, which
/// `cargo xtask fetch-weights` and `cargo xtask fetch-dataset` fetch.
#[derive(Parser)]
#[command(name = "trainer", version, after_help = trainer::terminal::TRAIN_EXAMPLES)]
struct Program {
    #[command(flatten)]
    train: TrainArgs,
}

fn main() -> ExitCode {
    run_main(|| {
        trainer::train(&Program::parse().train).map_err(|error| match remedy(&error) {
            Some(remedy) => format!("{error}; {remedy}"),
            None => error.to_string(),
        })
    })
}
