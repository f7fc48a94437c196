//! `gpt2-lora evaluate`

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use dataset::{Columns, Format, TableReader};
use trainer::{
    Predictor,
    inference::{Evaluation, evaluate},
    terminal::{Counter, print},
};

use crate::{predict::print_notice, shared_args::AdapterArgs};

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora evaluate --adapter runs/gpt2-1/adapter --data new.csv
  gpt2-lora evaluate --adapter runs/gpt2-1/adapter --data new.jsonl \\
      --label-column topic --out report

It prints accuracy, precision, recall, F1 and ROC AUC of each class and the confusion
matrix. --out DIR gets the page evaluation.html, evaluation.json, and
misclassified.jsonl with the misclassified examples.";

#[derive(Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Labeled text: CSV, TSV, JSON Lines or Parquet
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Format of --data: tsv, csv, jsonl or parquet [default: by the file extension]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Column with the text [default: text]
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Column with the label [default: label]
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// Folder for the report and the misclassified examples
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Truncate texts longer than the model's context instead of refusing them
    #[arg(long)]
    truncate: bool,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

pub fn run(args: &EvaluateArgs) -> Result<()> {
    if let Some(out) = &args.out {
        trainer::run::check_inputs([args.data.as_path()], out)?;
    }
    let predictor = args.adapter.load(args.truncate)?;
    let columns = Columns { text: args.text_column.clone(), label: args.label_column.clone() };
    let mut table = TableReader::open(&args.data, args.format, &columns, true)?;
    let mut counter = Counter::new("rows evaluated");
    let evaluation = evaluate(&predictor, &mut table, &mut |rows| counter.set(rows))?;
    drop(counter);
    print_notice(&predictor);
    if let Some(out) = &args.out {
        evaluation.write(out, &facts(&predictor, args, &evaluation))?;
    }
    Ok(print(&evaluation, args.json, |evaluation| text(evaluation, args))?)
}

fn facts(
    predictor: &Predictor,
    args: &EvaluateArgs,
    evaluation: &Evaluation,
) -> Vec<(String, String)> {
    let mut facts = vec![
        ("adapter".to_owned(), args.adapter.adapter.display().to_string()),
        ("base model".to_owned(), predictor.base().display().to_string()),
        ("data".to_owned(), args.data.display().to_string()),
        ("examples".to_owned(), evaluation.report.examples.to_string()),
    ];
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
