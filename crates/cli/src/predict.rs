//! `gpt2-lora predict`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Result, bail};
use clap::Args;
use dataset::{Columns, Format, Lines, TableReader, TableWriter};
use gpt2_model::{DeviceChoice, plain, resolve_device};
use serde_json::json;
use trainer::{Classified, Counter, Error, Predictor, classify_lines, classify_table};

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora predict --adapter runs/gpt2-1/adapter \"Are you home by six?\"
  gpt2-lora predict --adapter runs/gpt2-1/adapter --json < messages.txt
  gpt2-lora predict --adapter runs/gpt2-1/adapter --input mails.csv \\
      --text-column body --output out.csv
  gpt2-lora predict --adapter runs/gpt2-1/adapter --input news.parquet \\
      --output news.jsonl --probabilities

Texts and the lines of standard input give a line each: label, probability, text. A
table (--input) is written again with the columns predicted and confidence added;
it may be of any size.";

#[derive(Args)]
pub struct PredictArgs {
    /// Folder of a trained adapter
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// Base model: a folder, or the name of one below weights/ [default: the one
    /// that the adapter was trained on]
    #[arg(long, value_name = "DIR|NAME")]
    model: Option<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Print a JSON object a text instead of label, probability and text
    #[arg(long, conflicts_with = "input")]
    json: bool,
    /// Classify the rows of a table: CSV, TSV, JSON Lines or Parquet; - is
    /// standard input
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    input: Option<PathBuf>,
    /// Format of --input: tsv, csv, jsonl or parquet [default: what its name ends in]
    #[arg(long, value_name = "FORMAT", requires = "input")]
    input_format: Option<Format>,
    /// Column of --input with the text [default: text]
    #[arg(long, value_name = "NAME", requires = "input")]
    text_column: Option<String>,
    /// Write the table to a file, which is there when it is whole [default:
    /// standard output]
    #[arg(long, value_name = "FILE", requires = "input")]
    output: Option<PathBuf>,
    /// Format of the output: tsv, csv, jsonl or parquet [default: what the name of
    /// --output ends in; on standard output that of --input]
    #[arg(long, value_name = "FORMAT", requires = "input")]
    format: Option<Format>,
    /// Add the probability of each label to the table
    #[arg(long, requires = "input")]
    probabilities: bool,
    /// Judge texts that are longer than the model's context by their first tokens,
    /// instead of refusing them
    #[arg(long)]
    truncate: bool,
    /// Texts to classify [default: the lines of standard input]
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
}

pub fn run(args: &PredictArgs) -> Result<()> {
    let device = resolve_device(args.device)?;
    let predictor = Predictor::load(&args.adapter, args.model.as_deref(), device)?
        .with_truncation(args.truncate);
    classify(&predictor, args)?;
    say_notice(&predictor);
    Ok(())
}

fn classify(predictor: &Predictor, args: &PredictArgs) -> Result<()> {
    if let Some(input) = &args.input {
        return table(predictor, input, args);
    }
    let labels = predictor.labels();
    if !args.texts.is_empty() {
        for (text, answer) in args.texts.iter().zip(predictor.predict(&args.texts)?) {
            print(labels, text, &answer, args.json)?;
        }
        return Ok(());
    }
    let mut lines = Lines::new(io::stdin(), "standard input".into());
    let mut answered = |line: &str, answer: &Classified| print(labels, line, answer, args.json);
    Ok(classify_lines(predictor, &mut lines, &mut answered)?)
}

/// Says what a person may not expect of the answers.
pub(crate) fn say_notice(predictor: &Predictor) {
    if let Some(notice) = predictor.notice() {
        let _ = writeln!(io::stderr(), "note: {notice}");
    }
}

/// A table, from a file or standard input to a file or standard output.
fn table(predictor: &Predictor, input: &PathBuf, args: &PredictArgs) -> Result<()> {
    let columns = Columns { text: args.text_column.clone(), ..Columns::default() };
    let format = args.input_format.unwrap_or_else(|| Format::of(input));
    let mut from = if input.as_os_str() == "-" {
        TableReader::from_reader(io::stdin(), format, "standard input", &columns, false)?
    } else {
        TableReader::open(input, Some(format), &columns, false)?
    };
    let to = match &args.output {
        Some(output) if same_file(input, output) => {
            bail!("{} is --input and --output; give --output another name", output.display())
        }
        Some(output) => {
            let named = args.format.or_else(|| Format::by_extension(output));
            if named.is_none() {
                bail!(
                    "{} has the ending of no format that can be written (csv, tsv, jsonl, parquet); \
                     give it one of these, or --format",
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
        format!("{}\t{:.3}\t{}", plain(&classified.label), classified.confidence(), plain(text))
    };
    writeln!(io::stdout(), "{line}")
        .map_err(|source| Error::Write { path: "standard output".into(), source })
}
