//! `gpt2-lora predict`

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use clap::Args;
use dataset::{Format, Lines, TableReader};
use indicatif::HumanCount;
use serde_json::json;
use storage::terminal_safe;
use trainer::{
    Error, Predictor,
    config::MAX_TIMEOUT,
    inference::{
        Classified, classify_lines, classify_table,
        scoring::{Scored, Scoring, Workers, check_one_process},
    },
    terminal::{Counter, report_to_torchrun},
};

use crate::{
    shared_args::{AdapterArgs, PredictionArgs, TableArgs, print_notes},
    table_output::{TableOutput, create_output},
};

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora predict --adapter runs/gpt2-1/adapter \"Are you home by six?\"
  gpt2-lora predict --adapter runs/gpt2-1/adapter --json < messages.txt
  gpt2-lora predict --adapter runs/gpt2-1/adapter --input mails.csv \\
      --text-column body --output out.csv
  gpt2-lora predict --adapter runs/gpt2-1/adapter --input news.parquet \\
      --output news.jsonl --probabilities
  torchrun --no-python --nproc-per-node 4 gpt2-lora predict \\
      --adapter runs/gpt2-1/adapter --input 'in/*.parquet' --output out/

Prints a line per text or line of standard input: label, probability, text. A table
(--input) of any size is copied with the added columns predicted and confidence. Empty texts
(only white space) have no prediction: their cells are empty, null in JSON.

An output directory gets a file per part of the table, and any number of processes or tasks of
an array job share the parts; repeating the command skips the parts that are there.";

#[derive(Args)]
pub struct PredictArgs {
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Print a JSON object per text instead of label, probability and text
    #[arg(long, conflicts_with = "input")]
    json: bool,
    /// Classify the rows of a table: CSV, TSV, JSON or Parquet, also compressed (gzip, zstd);
    /// several files, directories and patterns form one table; - is standard input
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "texts")]
    input: Vec<PathBuf>,
    /// Format of --input: tsv, csv, jsonl or parquet [default: detected]
    #[arg(long, value_name = "FORMAT", requires = "input")]
    input_format: Option<Format>,
    #[command(flatten)]
    table: TableArgs,
    /// Output file of the table, which appears once it is complete and is compressed if its
    /// name ends with .gz or .zst, or -; a directory, with / at the end of its name, gets a file
    /// per part of the table [default: standard output]
    #[arg(long, value_name = "FILE", requires = "input")]
    output: Option<PathBuf>,
    /// Format of the output: tsv, csv, jsonl or parquet [default: by the extension of
    /// --output; on standard output and in a directory the format of --input]
    #[arg(long, value_name = "FORMAT", requires = "input")]
    format: Option<Format>,
    /// Seconds to wait for the other processes that score into the same directory
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "output",
          value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT))]
    timeout: u64,
    /// Add the probability of each label to the table (--input); for texts, --json prints them
    #[arg(long)]
    probabilities: bool,
    #[command(flatten)]
    prediction: PredictionArgs,
    /// Texts to classify [default: the lines of standard input]
    // clap skips the requirement of `input` where `texts` excludes it.
    #[arg(value_name = "TEXT", conflicts_with_all = ["input_format", "text_column", "separator",
          "quote_char", "no_header", "encoding", "output", "format", "timeout"])]
    texts: Vec<String>,
}

pub fn run(args: &PredictArgs) -> Result<()> {
    if args.probabilities && args.input.is_empty() && !args.json {
        bail!(
            "--probabilities adds columns to a table, which --input names; for texts and lines of \
             standard input use --json, which prints the probabilities"
        );
    }
    if let Some(directory) = args.output.as_deref().filter(|output| is_directory(output)) {
        return score(args, directory).inspect_err(report_to_torchrun);
    }
    if !args.input.is_empty() {
        let output = args.output.as_deref();
        check_one_process(output.unwrap_or(Path::new("standard output")))?;
    }
    let predictor = args.adapter.load(&args.prediction)?;
    classify(&predictor, args)?;
    print_notices(&predictor);
    Ok(())
}

fn is_directory(output: &Path) -> bool {
    output.is_dir() || output.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Scores a table into a directory, together with other processes.
fn score(args: &PredictArgs, directory: &Path) -> Result<()> {
    let workers = Workers::join(Duration::from_secs(args.timeout))?;
    let predictor = args.adapter.load_in(workers.local_rank(), &args.prediction)?;
    let scoring = Scoring {
        predictor: &predictor,
        files: &dataset::expand(&args.input)?,
        table: &args.table.options(args.input_format, None),
        directory,
        format: args.format,
        probabilities: args.probabilities,
    };
    let mut counter = Counter::new("rows classified");
    let scored = scoring.run(&workers, &mut |rows| counter.set(rows))?;
    drop(counter);
    print_notes(&scored.notes);
    print_notices(&predictor);
    let _ = writeln!(io::stderr(), "{}", closing_line(&scored, directory));
    Ok(())
}

fn closing_line(scored: &Scored, directory: &Path) -> String {
    let Scored { parts, rows, present, missing, .. } = scored;
    let (rows, directory) = (HumanCount(*rows as u64), directory.display());
    let noun = if *parts == 1 { "part" } else { "parts" };
    let mut line = format!("wrote {parts} {noun} ({rows} rows) into {directory}");
    if *present > 0 {
        line += &format!("; {present} were there already");
    }
    if *missing > 0 {
        line += &format!("; {missing} are missing, which other tasks write");
    }
    line
}

fn classify(predictor: &Predictor, args: &PredictArgs) -> Result<()> {
    if !args.input.is_empty() {
        return classify_input(predictor, args);
    }
    let labels = predictor.labels();
    if !args.texts.is_empty() {
        for (text, answer) in args.texts.iter().zip(predictor.classify(&args.texts)?) {
            print(labels, text, answer.as_ref(), args.json)?;
        }
        return Ok(());
    }
    let mut lines = Lines::decoded(io::stdin(), "standard input".into(), args.table.encoding)?;
    let mut print =
        |line: &str, answer: Option<&Classified>| print(labels, line, answer, args.json);
    classify_lines(predictor, &mut lines, &mut print)?;
    print_notes(lines.notes());
    Ok(())
}

/// Prints notes about the files and about empty and truncated texts, if there are any.
pub(crate) fn print_notices(predictor: &Predictor) {
    print_notes(predictor.notes().iter().cloned().chain(predictor.notices()));
}

/// Classifies a table, from a file or standard input to a file or standard output.
fn classify_input(predictor: &Predictor, args: &PredictArgs) -> Result<()> {
    let options = args.table.options(args.input_format, None);
    let inputs = dataset::expand(&args.input)?;
    let mut from = TableReader::open_all(&inputs, &options, false)?;
    let TableOutput { writer, file } =
        create_output(&inputs, &from, args.output.as_deref(), args.format)?;
    let (mut counter, mut rows) = (Counter::new("rows classified"), 0);
    let progress = &mut |done| {
        rows = done as u64;
        counter.set(done);
    };
    let notes = classify_table(predictor, &mut from, writer, args.probabilities, progress)?;
    drop(counter);
    print_notes(notes);
    if let Some(output) = file {
        let _ = writeln!(io::stderr(), "wrote {} ({} rows)", output.display(), HumanCount(rows));
    }
    Ok(())
}

fn print(
    labels: &[String],
    text: &str,
    classified: Option<&Classified>,
    as_json: bool,
) -> Result<(), Error> {
    let line = if as_json {
        let label = classified.map(|classified| &classified.label);
        let by_label = classified.map(|Classified { probabilities, .. }| {
            let probabilities = probabilities.iter().map(|&probability| probability.into());
            labels.iter().cloned().zip(probabilities).collect::<serde_json::Map<_, _>>()
        });
        json!({"text": text, "label": label, "probabilities": by_label}).to_string()
    } else {
        let (label, confidence) = match classified {
            Some(classified) => {
                (terminal_safe(&classified.label), format!("{:.3}", classified.confidence()))
            }
            None => Default::default(),
        };
        format!("{label}\t{confidence}\t{}", terminal_safe(text))
    };
    writeln!(io::stdout(), "{line}")
        .map_err(|error| storage::Error::write("standard output")(error).into())
}
