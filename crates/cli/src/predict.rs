//! `gpt2-lora predict`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Result, bail};
use clap::Args;
use dataset::{Columns, Format, Lines, TableReader, TableWriter};
use serde_json::json;
use storage::terminal_safe;
use trainer::{
    Error, Predictor,
    inference::{Classified, classify_lines, classify_table},
    terminal::Counter,
};

use crate::shared_args::AdapterArgs;

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora predict --adapter runs/gpt2-1/adapter \"Are you home by six?\"
  gpt2-lora predict --adapter runs/gpt2-1/adapter --json < messages.txt
  gpt2-lora predict --adapter runs/gpt2-1/adapter --input mails.csv \\
      --text-column body --output out.csv
  gpt2-lora predict --adapter runs/gpt2-1/adapter --input news.parquet \\
      --output news.jsonl --probabilities

Each text or line of standard input gives a line: label, probability, text. A table
(--input) of any size is copied with the added columns predicted and confidence.";

#[derive(Args)]
pub struct PredictArgs {
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Print a JSON object per text instead of label, probability and text
    #[arg(long, conflicts_with = "input")]
    json: bool,
    /// Classify the rows of a table: CSV, TSV, JSON Lines or Parquet; - is
    /// standard input
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    input: Option<PathBuf>,
    /// Format of --input: tsv, csv, jsonl or parquet [default: by the file extension]
    #[arg(long, value_name = "FORMAT", requires = "input")]
    input_format: Option<Format>,
    /// Column of --input with the text [default: text]
    #[arg(long, value_name = "NAME", requires = "input")]
    text_column: Option<String>,
    /// Write the table to a file, which appears when it is complete [default: standard
    /// output]
    #[arg(long, value_name = "FILE", requires = "input")]
    output: Option<PathBuf>,
    /// Format of the output: tsv, csv, jsonl or parquet [default: by the extension of
    /// --output; on standard output the format of --input]
    #[arg(long, value_name = "FORMAT", requires = "input")]
    format: Option<Format>,
    /// Add the probability of each label to the table
    #[arg(long, requires = "input")]
    probabilities: bool,
    /// Truncate texts longer than the model's context instead of refusing them
    #[arg(long)]
    truncate: bool,
    /// Texts to classify [default: the lines of standard input]
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
}

pub fn run(args: &PredictArgs) -> Result<()> {
    let predictor = args.adapter.load(args.truncate)?;
    classify(&predictor, args)?;
    print_notice(&predictor);
    Ok(())
}

fn classify(predictor: &Predictor, args: &PredictArgs) -> Result<()> {
    if let Some(input) = &args.input {
        return classify_input(predictor, input, args);
    }
    let labels = predictor.labels();
    if !args.texts.is_empty() {
        for (text, answer) in args.texts.iter().zip(predictor.classify(&args.texts)?) {
            print(labels, text, &answer, args.json)?;
        }
        return Ok(());
    }
    let mut lines = Lines::new(io::stdin(), "standard input".into());
    let mut print = |line: &str, answer: &Classified| print(labels, line, answer, args.json);
    Ok(classify_lines(predictor, &mut lines, &mut print)?)
}

/// Prints notes about the base model and about truncated texts, if there are any.
pub(crate) fn print_notice(predictor: &Predictor) {
    for notice in predictor.base_note().map(str::to_owned).into_iter().chain(predictor.notice()) {
        let _ = writeln!(io::stderr(), "note: {notice}");
    }
}

/// Classifies a table, from a file or standard input to a file or standard output.
fn classify_input(predictor: &Predictor, input: &PathBuf, args: &PredictArgs) -> Result<()> {
    let columns = Columns { text: args.text_column.clone(), ..Columns::default() };
    let format = args.input_format.unwrap_or_else(|| Format::of(input));
    let mut from = if input.as_os_str() == "-" {
        TableReader::from_reader(io::stdin(), format, "standard input", &columns, false)?
    } else {
        TableReader::open(input, Some(format), &columns, false)?
    };
    let to = match &args.output {
        Some(output) if same_file(input, output) => {
            bail!("{} is both --input and --output; give --output another file", output.display())
        }
        Some(output) => {
            let named = args.format.or_else(|| Format::by_extension(output));
            if named.is_none() {
                bail!(
                    "{}: unknown file extension, expected csv, tsv, jsonl or parquet; rename it or give \
                     --format",
                    output.display()
                );
            }
            TableWriter::create(output, named)?
        }
        None => {
            let format = args.format.unwrap_or(format);
            TableWriter::to_writer(io::stdout(), format, "standard output")?
        }
    };
    let mut counter = Counter::new("rows classified");
    classify_table(predictor, &mut from, to, args.probabilities, &mut |rows| counter.set(rows))?;
    Ok(())
}

fn same_file(one: &PathBuf, other: &PathBuf) -> bool {
    one == other
        || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn print(
    labels: &[String],
    text: &str,
    classified: &Classified,
    as_json: bool,
) -> Result<(), Error> {
    let line = if as_json {
        let Classified { label, probabilities } = classified;
        let by_label: serde_json::Map<_, _> =
            labels.iter().cloned().zip(probabilities.iter().map(|&p| p.into())).collect();
        json!({"text": text, "label": label, "probabilities": by_label}).to_string()
    } else {
        format!(
            "{}\t{:.3}\t{}",
            terminal_safe(&classified.label),
            classified.confidence(),
            terminal_safe(text)
        )
    };
    writeln!(io::stdout(), "{line}")
        .map_err(|error| storage::Error::write("standard output")(error).into())
}
