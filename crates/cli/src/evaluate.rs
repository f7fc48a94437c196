//! `gpt2-lora evaluate`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::Args;
use dataset::{Columns, Format, TableReader};
use gpt2_model::{DeviceChoice, resolve_device};
use trainer::{Counter, Evaluation, Predictor, evaluate};

use crate::predict::say_notice;

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora evaluate --adapter runs/gpt2-1/adapter --data new.csv
  gpt2-lora evaluate --adapter runs/gpt2-1/adapter --data new.jsonl \\
      --label-column topic --out report

It prints accuracy, precision, recall, F1 and ROC-AUC of each class and the confusion
matrix. --out DIR gets evaluation.html to look at, evaluation.json, and
mistakes.jsonl with the rows that were taken for something else.";

#[derive(Args)]
pub struct EvaluateArgs {
    /// Folder of a trained adapter
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// Labelled text: CSV, TSV, JSON Lines or Parquet
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Format of --data: tsv, csv, jsonl or parquet [default: what its name ends in]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Column with the text [default: text]
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Column with the label [default: label]
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// Base model: a folder, or the name of one below weights/ [default: the one
    /// that the adapter was trained on]
    #[arg(long, value_name = "DIR|NAME")]
    model: Option<String>,
    /// Folder for the report and the mistakes
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Judge texts that are longer than the model's context by their first tokens,
    /// instead of refusing them
    #[arg(long)]
    truncate: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

pub fn run(args: &EvaluateArgs) -> Result<()> {
    let device = resolve_device(args.device)?;
    if let Some(out) = &args.out {
        trainer::places::apart([args.data.as_path()], out)?;
    }
    let predictor = Predictor::load(&args.adapter, args.model.as_deref(), device)?
        .with_truncation(args.truncate);
    let columns = Columns { text: args.text_column.clone(), label: args.label_column.clone() };
    let mut table = TableReader::open(&args.data, args.format, &columns, true)?;
    let mut counter = Counter::new("rows evaluated");
    let evaluation = evaluate(&predictor, &mut table, &mut |rows| counter.set(rows))?;
    drop(counter);
    say_notice(&predictor);
    if let Some(out) = &args.out {
        evaluation.write(out, &facts(&predictor, args, &evaluation))?;
    }
    let text = if args.json {
        serde_json::to_string_pretty(&evaluation)? + "\n"
    } else {
        text(&evaluation, args)
    };
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

fn facts(
    predictor: &Predictor,
    args: &EvaluateArgs,
    evaluation: &Evaluation,
) -> Vec<(String, String)> {
    let mut facts = vec![
        ("adapter".to_owned(), args.adapter.display().to_string()),
        ("base model".to_owned(), predictor.base().display().to_string()),
        ("data".to_owned(), args.data.display().to_string()),
        ("rows".to_owned(), evaluation.report.rows.to_string()),
    ];
    let left_out = evaluation.without_label + evaluation.without_text;
    if left_out > 0 {
        facts.push(("rows left out".to_owned(), left_out.to_string()));
    }
    facts
}

fn text(evaluation: &Evaluation, args: &EvaluateArgs) -> String {
    let mut text = evaluation.report.to_table();
    for (count, what) in [(evaluation.without_label, "label"), (evaluation.without_text, "text")] {
        if count > 0 {
            text += &format!("{count} rows without a {what} were left out\n");
        }
    }
    if let Some(out) = &args.out {
        text += &format!("report: {}\n", out.join("evaluation.html").display());
    }
    text
}
