//! `gpt2-lora generate`

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, builder::NonEmptyStringValueParser};
use dataset::{CompletionError, Format, TableOptions, TableReader};
use gpt2_model::{DType, GenerateConfig, RandomSampling, Sampling};
use indicatif::HumanCount;
use serde_json::{Value, json};
use storage::terminal_safe;
use trainer::{
    Generator,
    config::check_batch_size,
    inference::{Completion, GenerationRequest, generate_table},
    process::end_line_on_interrupt,
    terminal::Counter,
};

use crate::{
    shared_args::{ComputeArgs, print_notes},
    table_output::{TableOutput, create_output},
};

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora generate --adapter runs/gpt2-1/adapter --prompt \"Every effort moves you\"
  gpt2-lora generate --model weights/gpt2-medium --prompt \"The moon\" --top-k 50 --seed 7
  gpt2-lora generate --adapter runs/gpt2-1/adapter --input prompts.jsonl \\
      --output completions.jsonl --top-p 0.9 --stop \"###\"

Prints each prompt with its completion. The adapter of a model that was trained on prompts or
conversations renders a prompt by its template; only the answer is printed. The prompts of a
table (--input) are its column prompt, or instruction and input, or messages, which is a list of
objects with role and content. A table is copied with the added columns
completion, finish_reason (stop, length or stop-string), new_tokens and error, which gives the
reason where a row has no prompt that can be continued, for example because it fills the model's
context. The text of a prompt depends on its place in the input and the seed, and not on the batch
size.";

/// Base model without an adapter.
const DEFAULT_MODEL: &str = "gpt2";

#[derive(Args)]
pub struct GenerateArgs {
    /// Directory of a language model's adapter, of a run or of Hugging Face PEFT, or of a complete
    /// language model
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Model: directory with config.json and model.safetensors, name of a directory below
    /// weights/, or OWNER/NAME of a checkpoint that was fetched from the Hugging Face Hub
    /// [default: the base model of the adapter; without an adapter gpt2]
    #[arg(long, value_name = "DIR|NAME", value_parser = NonEmptyStringValueParser::new())]
    model: Option<String>,
    /// Text to continue; repeat the option for several
    #[arg(long, value_name = "TEXT", required_unless_present = "input", allow_hyphen_values = true,
          conflicts_with_all = ["input", "input_format", "prompt_column", "output", "format"])]
    prompt: Vec<String>,
    /// Continue the prompts of a table: JSON, CSV, TSV or Parquet, also compressed (gzip, zstd);
    /// several files, directories and patterns form one table; - is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    input: Vec<PathBuf>,
    /// Format of --input: tsv, csv, jsonl or parquet [default: detected]
    #[arg(long, value_name = "FORMAT")]
    input_format: Option<Format>,
    /// Column of prompts, strings or lists of messages [default: the columns that the adapter's template
    /// of prompts reads, else messages, prompt, or instruction and input]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    prompt_column: Option<String>,
    /// Output file of the table, which appears once it is complete and is compressed if its
    /// name ends with .gz or .zst, or - [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Format of the output: tsv, csv, jsonl or parquet [default: by the extension of
    /// --output; on standard output the format of --input]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Prompts that are continued together; it does not change the texts
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch_size: usize,
    /// Print a JSON object per prompt
    #[arg(long, conflicts_with = "input")]
    json: bool,
    /// Data type of the weights and of matrix products: float32, bfloat16, or float16 with CUDA
    #[arg(long, value_name = "TYPE", default_value = "float32")]
    dtype: DType,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Initialize the weights randomly instead of loading them; only config.json is needed
    #[arg(long, conflicts_with = "adapter")]
    random_init: bool,
}

/// Choice of the next token and end of a text.
#[derive(Args)]
struct SamplingArgs {
    /// Maximum number of new tokens
    #[arg(long, value_name = "N", default_value_t = 50)]
    max_new_tokens: usize,
    /// Sampling temperature [default: greedy, the most probable token; 1 with --top-k, --top-p or
    /// --min-p]
    #[arg(long, value_name = "X")]
    temperature: Option<f64>,
    /// Sample among the N most probable tokens
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Sample among the most probable tokens whose probabilities add up to X
    #[arg(long, value_name = "X")]
    top_p: Option<f64>,
    /// Sample among the tokens that are at least X times as probable as the most probable one
    #[arg(long, value_name = "X")]
    min_p: Option<f64>,
    /// Divide the positive logits of tokens in the text so far by X, and multiply negative ones
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f64,
    /// End the text before this string; repeat the option for several
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true,
          value_parser = NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Seed for sampling
    #[arg(long, value_name = "N", default_value_t = 123)]
    seed: u64,
}

impl SamplingArgs {
    fn config(&self) -> Result<GenerateConfig> {
        let Self { temperature, top_k, top_p, min_p, seed, .. } = *self;
        let is_greedy = temperature.is_none() && top_k.is_none() && top_p.or(min_p).is_none();
        let sampling = if is_greedy {
            Sampling::Greedy
        } else {
            let temperature = temperature.unwrap_or(RandomSampling::default().temperature);
            Sampling::Random(RandomSampling { temperature, top_k, top_p, min_p, seed })
        };
        let config = GenerateConfig {
            max_new_tokens: self.max_new_tokens,
            repetition_penalty: self.repetition_penalty,
            sampling,
            stop_tokens: Vec::new(),
        };
        config.check()?;
        Ok(config)
    }
}

pub fn run(args: &GenerateArgs) -> Result<()> {
    // Before the model is loaded.
    check_batch_size(args.batch_size)?;
    let request = GenerationRequest {
        config: args.sampling.config()?,
        stop: args.sampling.stop.clone(),
        batch_size: args.batch_size,
    };
    let generator = load(args)?;
    print_notes(generator.notes());
    if !args.input.is_empty() {
        return generate_input(&generator, args, &request).map_err(name_prompt_column);
    }
    if let ([prompt], false, true) = (&args.prompt[..], args.json, io::stdout().is_terminal()) {
        return stream(&generator, prompt, &request);
    }
    let mut failed = 0;
    let outcomes = generator.generate(&args.prompt, 0, &request, None)?;
    if let (false, [Err(_)]) = (args.json, &outcomes[..]) {
        outcomes.into_iter().next().transpose()?;
        return Ok(());
    }
    for (index, (prompt, outcome)) in args.prompt.iter().zip(&outcomes).enumerate() {
        failed += usize::from(outcome.is_err());
        let shown = if args.json { prompt } else { shown_prompt(&generator, prompt) };
        print(index, shown, outcome, args.json)?;
    }
    if failed > 0 {
        bail!("{failed} of {} prompts could not be continued", outcomes.len());
    }
    Ok(())
}

/// Text before a completion: none before an answer, which a template parts from the prompt.
fn shown_prompt<'p>(generator: &Generator, prompt: &'p str) -> &'p str {
    if generator.continues_prompts() { prompt } else { "" }
}

fn load(args: &GenerateArgs) -> Result<Generator> {
    let options = Generator::options().device(args.compute.apply()?).dtype(args.dtype);
    let Some(adapter) = &args.adapter else {
        let model = args.model.as_deref().unwrap_or(DEFAULT_MODEL);
        return Ok(options.load_base(model, args.random_init.then_some(args.sampling.seed))?);
    };
    let options = match &args.model {
        Some(base) => options.base(base),
        None => options,
    };
    Ok(options.load(adapter)?)
}

/// Prints a prompt and its completion, or the reason for which there is none.
fn print(
    index: usize,
    prompt: &str,
    outcome: &Result<Completion, gpt2_model::Error>,
    as_json: bool,
) -> Result<()> {
    let mut output = io::stdout().lock();
    let written = match outcome {
        _ if as_json => {
            let mut line = match outcome {
                Ok(completion) => serde_json::to_value(completion)?,
                Err(error) => json!({"error": error.to_string()}),
            };
            if let Value::Object(line) = &mut line {
                line.insert("prompt".to_owned(), json!(prompt));
            }
            writeln!(output, "{line}")
        }
        Ok(completion) => {
            let gap = if index > 0 { "\n" } else { "" };
            let text = format!("{prompt}{}", completion.text);
            writeln!(output, "{gap}{}", printable(&text, output.is_terminal()))
        }
        Err(error) => {
            writeln!(io::stderr(), "note: prompt {} was skipped: {error}", index + 1)
        }
    };
    written.context("cannot write to standard output")
}

/// Prints a prompt and its completion as it is generated.
fn stream(generator: &Generator, prompt: &str, request: &GenerationRequest) -> Result<()> {
    end_line_on_interrupt()?;
    let shown = shown_prompt(generator, prompt);
    let mut written = Ok(());
    let mut is_first = true;
    let mut write = |text: &str| {
        let mut output = io::stdout().lock();
        if written.is_ok() {
            written = write!(output, "{}", printable(text, true)).and_then(|()| output.flush());
        }
    };
    let mut on_text = |_: usize, text: &str| {
        if std::mem::take(&mut is_first) {
            write(shown);
        }
        write(text);
    };
    let outcomes = generator.generate(&[prompt], 0, request, Some(&mut on_text))?;
    outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
    if is_first {
        write(shown);
    }
    write("\n");
    written.context("cannot write to standard output")
}

/// Text for a terminal, where a text must not send commands, or as it is.
fn printable(text: &str, for_terminal: bool) -> String {
    if !for_terminal {
        return text.to_owned();
    }
    let pieces = text.split_inclusive(['\n', '\t']).map(|piece| {
        let line = piece.trim_end_matches(['\n', '\t']);
        terminal_safe(line) + &piece[line.len()..]
    });
    pieces.collect()
}

/// Names the option for the column of prompts in an error.
fn name_prompt_column(error: anyhow::Error) -> anyhow::Error {
    let of_table = match error.downcast_ref() {
        Some(trainer::Error::Dataset(error)) => Some(error),
        _ => error.downcast_ref::<dataset::Error>(),
    };
    match of_table {
        Some(dataset::Error::Completions(CompletionError::Column { .. })) => {
            anyhow!("{error}; name the column of prompts with --prompt-column")
        }
        _ => error,
    }
}

/// Continues the prompts of a table.
fn generate_input(
    generator: &Generator,
    args: &GenerateArgs,
    request: &GenerationRequest,
) -> Result<()> {
    let options = TableOptions { format: args.input_format, ..TableOptions::default() };
    let inputs = dataset::expand(&args.input)?;
    let mut from = TableReader::open_records(&inputs, &options)?;
    let TableOutput { writer, file } =
        create_output(&inputs, &from, args.output.as_deref(), args.format)?;
    let mut counter = Counter::new("prompts continued");
    let column = args.prompt_column.as_deref();
    let mut progress = |rows| counter.set(rows);
    let result = generate_table(generator, &mut from, writer, column, request, &mut progress)?;
    drop(counter);
    print_notes(&result.notes);
    if let Some(output) = file {
        let rows = HumanCount(result.rows as u64);
        let _ = writeln!(io::stderr(), "wrote {} ({rows} rows)", output.display());
    }
    let (failed, rows) = (result.failed, result.rows);
    let Some(reason) = result.reason else { return Ok(()) };
    let note = format!("{failed} of {rows} prompts could not be continued: {reason}");
    if failed == rows {
        bail!("{note}");
    }
    print_notes([note]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_remain_lines_and_commands_are_escaped() {
        let text = "a\tb\n\n\u{1b}[2Jc";
        assert_eq!(printable(text, true), "a\tb\n\n\\u{1b}[2Jc");
        assert_eq!(printable(text, false), text);
    }
}
