//! `gpt2-lora evaluate`

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, builder::NonEmptyStringValueParser};
use dataset::{Format, TableReader};
use regex::Regex;
use trainer::{
    Predictor,
    inference::{Evaluation, evaluate, has_evaluation, is_language_model},
    run::check_is_directory,
    terminal::{Counter, print},
};

use crate::{
    evaluate_language_model,
    predict::print_notices,
    shared_args::{AdapterArgs, PredictionArgs, TableArgs, print_notes},
};

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora evaluate --adapter runs/gpt2-1/adapter --data new.csv
  gpt2-lora evaluate --adapter runs/gpt2-1/adapter --data new.jsonl \\
      --label-column topic --out report
  gpt2-lora evaluate --adapter runs/chat/adapter --data answers.jsonl --match '(\\d+)$'

Prints accuracy, precision, recall, F1 and ROC AUC of each class and the confusion matrix.
With --out DIR it also writes evaluation.html, evaluation.json and misclassified.jsonl.

For a language model the columns of --data are the ones of training: text, prompt and
completion, instruction, input and output, or messages. Prints perplexity and token accuracy,
and the fraction of generated completions that equal the completions of the data. With
--out DIR it also writes evaluation.html, evaluation.json and examples.jsonl, which has the
loss of each example and its generated completion.";

#[derive(Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    pub adapter: AdapterArgs,
    /// Labeled text, or examples of a language model: CSV, TSV, JSON or Parquet, also compressed (gzip, zstd); several files,
    /// directories and patterns form one table; - is standard input
    #[arg(id = "input", long = "data", value_name = "FILE", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,
    /// Format of --data: tsv, csv, jsonl or parquet [default: detected]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    #[command(flatten)]
    pub table: TableArgs,
    /// Label column [default: label]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub label_column: Option<String>,
    /// Language models: column of prompts [default: prompt or instruction]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub prompt_column: Option<String>,
    /// Language models: column of completions [default: completion or output]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub completion_column: Option<String>,
    /// Output directory of the report, and of the misclassified examples, or the results of all
    /// examples of a language model
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub prediction: PredictionArgs,
    /// Language models: compare the first match of this regular expression in a generated
    /// completion, or its first group, with the completion of the data [default: the whole
    /// completion]
    #[arg(id = "match", long = "match", value_name = "REGEX", value_parser = regular_expression)]
    pub pattern: Option<Regex>,
    /// Language models: maximum number of new tokens of a completion; 0 generates none [default:
    /// 128]
    #[arg(long, value_name = "N")]
    pub max_new_tokens: Option<usize>,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

fn regular_expression(text: &str) -> Result<Regex, String> {
    // The last line of the message is the problem, the lines before show the position.
    let problem = |error: regex::Error| error.to_string().lines().last().map(str::to_owned);
    Regex::new(text).map_err(|error| problem(error).unwrap_or_default())
}

impl EvaluateArgs {
    /// Refuses the first given one of some options, which are for another `kind` of model.
    pub fn refuse(&self, [adapter, kind]: [&str; 2], options: &[(&str, bool)]) -> Result<()> {
        let Some((option, _)) = options.iter().find(|(_, is_given)| *is_given) else {
            return Ok(());
        };
        let path = self.adapter.adapter.display();
        bail!("{path} is {adapter}, and {option} is for {kind}; leave it out")
    }

    /// Checks the output directory. Returns a note if it has an earlier evaluation.
    pub fn check_out(&self) -> Result<Option<String>> {
        let Some(out) = &self.out else { return Ok(None) };
        check_is_directory(out)?;
        let files = dataset::expand(&self.data)?;
        trainer::run::check_inputs(files.iter().map(PathBuf::as_path), out)?;
        let note = format!("the earlier evaluation in {} was replaced", out.display());
        Ok(has_evaluation(out)?.then_some(note))
    }

    /// Returns names and values for the page of an evaluation of `examples` with the model `base`.
    pub fn facts(&self, base: &Path, examples: usize) -> Vec<(String, String)> {
        let data: Vec<String> = self.data.iter().map(|path| path.display().to_string()).collect();
        vec![
            ("adapter".to_owned(), self.adapter.adapter.display().to_string()),
            ("base model".to_owned(), base.display().to_string()),
            ("data".to_owned(), data.join(", ")),
            ("examples".to_owned(), examples.to_string()),
        ]
    }
}

pub fn run(args: &EvaluateArgs) -> Result<()> {
    if is_language_model(&args.adapter.adapter)? {
        return evaluate_language_model::run(args);
    }
    args.refuse(
        ["a classifier", "language models"],
        &[
            ("--match", args.pattern.is_some()),
            ("--max-new-tokens", args.max_new_tokens.is_some()),
            ("--prompt-column", args.prompt_column.is_some()),
            ("--completion-column", args.completion_column.is_some()),
        ],
    )?;
    let replaced = args.check_out()?;
    let predictor = args.adapter.load(&args.prediction)?;
    let options = args.table.options(args.format, args.label_column.as_ref());
    let mut table = TableReader::open_all(&args.data, &options, true)?.only_text_and_label();
    let mut counter = Counter::new("rows evaluated");
    let evaluation = evaluate(&predictor, &mut table, &mut |rows| counter.set(rows))?;
    drop(counter);
    print_notes(table.take_notes().into_iter().chain(evaluation.notes.iter().cloned()));
    print_notices(&predictor);
    if let Some(out) = &args.out {
        evaluation.write(out, &facts(&predictor, args, &evaluation))?;
        print_notes(replaced);
    }
    Ok(print(&evaluation, args.json, |evaluation| text(evaluation, args))?)
}

fn facts(
    predictor: &Predictor,
    args: &EvaluateArgs,
    evaluation: &Evaluation,
) -> Vec<(String, String)> {
    let mut facts = args.facts(predictor.base(), evaluation.report.examples as usize);
    let skipped = evaluation.without_label + evaluation.without_text;
    if skipped > 0 {
        facts.push(("rows skipped".to_owned(), skipped.to_string()));
    }
    facts
}

fn text(evaluation: &Evaluation, args: &EvaluateArgs) -> String {
    let mut text = evaluation.report.to_table();
    for (count, what) in [(evaluation.without_label, "label"), (evaluation.without_text, "text")] {
        if count > 0 {
            text += &format!("{count} rows without a {what} were skipped\n");
        }
    }
    if let Some(out) = &args.out {
        text += &format!("report: {}\n", out.join("evaluation.html").display());
    }
    text
}
