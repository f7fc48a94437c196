//! The `trainer` command: fine-tuning of GPT-2 with LoRA or of its own weights.

use clap::Parser;
use trainer::{
    TrainArgs,
    process::{is_broken_pipe, run_main},
    remedy,
};

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

fn main() {
    run_main(|program: Program| match trainer::train(&program.train) {
        Err(error) if !is_broken_pipe(&error) => Err(match remedy(&error) {
            Some(remedy) => format!("{error}; {remedy}"),
            None => error.to_string(),
        }),
        _ => Ok(()),
    })
}
