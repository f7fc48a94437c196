//! The `trainer` command: LoRA fine-tuning of GPT-2 on labelled text.

use std::process::ExitCode;

use clap::Parser;
use trainer::{Memory, TrainArgs, program};

#[global_allocator]
static MEMORY: Memory = Memory;

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
    program(|| trainer::train(&Program::parse().train).map_err(|error| error.to_string()))
}
