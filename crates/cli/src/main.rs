//! The `gpt2-lora` command: reads the command line, calls the libraries, prints.

mod completions;
mod evaluate;
mod export;
mod folder;
mod generate;
mod inspect;
mod merge;
mod predict;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gpt2_model::short_message;
use tch::TchError;
use trainer::{Memory, TrainArgs, pretrain::PretrainArgs, program};

#[global_allocator]
static MEMORY: Memory = Memory;

const EXIT_CODES: &str = "\
Exit codes: 0 all went well; 1 something went wrong, which is said in one sentence on
standard error; 2 the command line is wrong; 101 the program made a mistake.";

/// LoRA fine-tuning of GPT-2
#[derive(Parser)]
#[command(name = "gpt2-lora", version, after_help = EXIT_CODES)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fine-tune GPT-2 into a classifier of labelled text
    #[command(after_help = trainer::TRAIN_EXAMPLES)]
    Train(Box<TrainArgs>),
    /// Classify texts with a trained adapter
    #[command(after_help = predict::EXAMPLES)]
    Predict(predict::PredictArgs),
    /// Measure how well a trained adapter classifies labelled text
    #[command(after_help = evaluate::EXAMPLES)]
    Evaluate(evaluate::EvaluateArgs),
    /// Write the base model with an adapter in it, for transformers
    #[command(after_help = merge::EXAMPLES)]
    Merge(merge::MergeArgs),
    /// Write an adapter for Hugging Face PEFT
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Train a GPT-2 on plain text, from drawn weights or those of a model
    #[command(after_help = trainer::pretrain::PRETRAIN_EXAMPLES)]
    Pretrain(Box<PretrainArgs>),
    /// Continue a text
    #[command(after_help = generate::EXAMPLES)]
    Generate(generate::GenerateArgs),
    /// Show the modules, shapes and parameter counts of a model or an adapter
    #[command(after_help = inspect::EXAMPLES)]
    Inspect(inspect::InspectArgs),
    /// Print a script that completes this command in a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArgs),
}

/// An error and its causes, as far as it does not tell them itself. Of an error of
/// libtorch, which has a stack of C++ with it, the part that is for people.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = match cause.downcast_ref::<TchError>() {
            Some(cause) => short_message(cause),
            None => cause.to_string(),
        };
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Train(args) => trainer::train(&args).map_err(Into::into),
        Command::Predict(args) => predict::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Pretrain(args) => trainer::pretrain::pretrain(&args).map_err(Into::into),
        Command::Generate(args) => generate::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Completions(args) => completions::run::<Program>(&args),
    }
}

fn main() -> ExitCode {
    program(|| run(Program::parse().command).map_err(|error| sentence(&error)))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_is_told_once_and_no_stack_of_cpp() {
        let torch = TchError::Torch("shapes differ\nframe #0: c10::Error".to_owned());
        let error = Err::<(), _>(trainer::Error::from(torch)).context("data.csv").unwrap_err();
        assert_eq!(sentence(&error), "data.csv: libtorch: shapes differ");
        let bare = anyhow::Error::from(TchError::Torch("a\nframe #0".to_owned()));
        assert_eq!(sentence(&bare), "a");
    }
}
