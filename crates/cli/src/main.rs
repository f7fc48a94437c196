//! The `gpt2-lora` command: parses the command line, calls the libraries and prints.
//!
//! | Command | Library function |
//! |---|---|
//! | `train`, `pretrain` | [`trainer::train()`] |
//! | `predict` | [`trainer::Predictor`] |
//! | `evaluate`, `merge` | [`trainer::inference`] |
//! | `generate` | [`trainer::Generator`] |
//! | `inspect` | [`gpt2_model::format_tree`] |
//! | `completions` | `clap_complete` |
//!
//! ```sh
//! gpt2-lora train --model pocket --data messages.tsv --out runs/first
//! gpt2-lora predict --adapter runs/first/adapter "Are you home by six?"
//! ```

mod completions;
mod evaluate;
mod evaluate_language_model;
mod generate;
mod inspect;
mod merge;
mod output_folder;
mod predict;
mod shared_args;
mod table_output;

use clap::{Parser, Subcommand};
use trainer::{
    PretrainArgs, TrainArgs,
    process::{is_broken_pipe, run_main},
    remedy,
};

const EXIT_CODES: &str = "\
Exit codes: 0 success; 1 error, described in one sentence on standard error; 2 invalid
command line; 101 internal error; 130 Ctrl-C, in training a second one.";

/// LoRA fine-tuning of GPT-2
#[derive(Parser)]
#[command(name = "gpt2-lora", version, after_help = EXIT_CODES)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fine-tune GPT-2 as a classifier or a language model
    #[command(after_help = trainer::terminal::TRAIN_EXAMPLES)]
    Train(Box<TrainArgs>),
    /// Classify texts with a trained adapter
    #[command(after_help = predict::EXAMPLES)]
    Predict(predict::PredictArgs),
    /// Evaluate a trained adapter on a table of labeled texts, texts, or prompts with completions
    #[command(after_help = evaluate::EXAMPLES)]
    Evaluate(evaluate::EvaluateArgs),
    /// Merge an adapter into its base model and save the model for transformers
    #[command(after_help = merge::EXAMPLES)]
    Merge(merge::MergeArgs),
    /// Pretrain a GPT-2 language model on plain text
    #[command(after_help = trainer::terminal::PRETRAIN_EXAMPLES)]
    Pretrain(Box<PretrainArgs>),
    /// Generate text with a trained adapter or a base model
    #[command(after_help = generate::EXAMPLES)]
    Generate(generate::GenerateArgs),
    /// Print modules, shapes and parameter counts of a model or adapter
    #[command(after_help = inspect::EXAMPLES)]
    Inspect(inspect::InspectArgs),
    /// Print a shell completion script
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArgs),
}

/// Returns an error, its causes unless its message includes them, and its remedy.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    if let Some(remedy) = error.chain().find_map(remedy) {
        text = format!("{text}; {remedy}");
    }
    text
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Train(args) => trainer::train(&args).map_err(Into::into),
        Command::Predict(args) => predict::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Pretrain(args) => trainer::train(&args.0).map_err(Into::into),
        Command::Generate(args) => generate::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Completions(args) => completions::run::<Program>(&args),
    }
}

fn main() {
    run_main(|program: Program| match run(program.command) {
        Err(error) if !is_broken_pipe(error.as_ref()) => Err(sentence(&error)),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use tch::TchError;

    use super::*;

    #[test]
    fn causes_are_printed_once_and_without_cpp_stack() {
        let torch = TchError::Torch("shapes differ\nframe #0: c10::Error".to_owned());
        let error = Err::<(), _>(trainer::Error::from(torch)).context("data.csv").unwrap_err();
        assert_eq!(sentence(&error), "data.csv: libtorch: shapes differ");
    }
}
