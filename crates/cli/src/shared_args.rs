//! Options shared by several commands.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Result;
use clap::{Args, builder::NonEmptyStringValueParser, value_parser};
use dataset::{Columns, Encoding, Format, QuoteChar, Separator, TableOptions};
use gpt2_model::{DType, DeviceChoice};
use tch::Device;
use trainer::{
    Predictor,
    config::{MAX_THREADS, OnLongText},
    inference::PredictorOptions,
    run::device_of,
};

/// Options of every command that computes.
#[derive(Args)]
pub struct ComputeArgs {
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// CPU threads [default: one per core]
    #[arg(long, value_name = "N",
          value_parser = value_parser!(i32).range(1..=MAX_THREADS as i64))]
    threads: Option<i32>,
}

impl ComputeArgs {
    /// Sets the number of threads and returns the device.
    pub fn apply(&self) -> Result<Device> {
        self.apply_in(0)
    }

    /// As [`apply`](Self::apply), for a process with this rank among the processes on the machine.
    pub fn apply_in(&self, local_rank: usize) -> Result<Device> {
        if let Some(threads) = self.threads {
            tch::set_num_threads(threads);
        }
        Ok(device_of(self.device, local_rank)?)
    }
}

/// Options of every command that loads an adapter.
#[derive(Args)]
pub struct AdapterArgs {
    /// Directory of a trained adapter, of a run or of Hugging Face PEFT, or of a complete
    /// model
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Base model: directory, or name of one below weights/ [default: the base model of the
    /// adapter]
    #[arg(long, value_name = "DIR|NAME", value_parser = NonEmptyStringValueParser::new())]
    pub model: Option<String>,
    /// Labels in class order, for an adapter that does not name its classes
    #[arg(long, value_name = "LABEL,…", value_delimiter = ',')]
    pub labels: Vec<String>,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

impl AdapterArgs {
    /// Options to load the adapter and its base model.
    pub fn options(&self) -> Result<PredictorOptions> {
        self.options_in(0)
    }

    fn options_in(&self, local_rank: usize) -> Result<PredictorOptions> {
        let device = self.compute.apply_in(local_rank)?;
        let options = Predictor::options().device(device).labels(&self.labels);
        Ok(match &self.model {
            Some(base) => options.base(base),
            None => options,
        })
    }

    /// Loads the adapter and its base model.
    pub fn load(&self, prediction: &PredictionArgs) -> Result<Predictor> {
        self.load_in(0, prediction)
    }

    /// As [`load`](Self::load), for a process with this rank among the processes on the machine.
    pub fn load_in(&self, local_rank: usize, prediction: &PredictionArgs) -> Result<Predictor> {
        let PredictionArgs { on_long_text, dtype } = *prediction;
        let options = self.options_in(local_rank)?.on_long_text(on_long_text).dtype(dtype);
        Ok(options.load(&self.adapter)?)
    }
}

/// Options of every command that classifies.
#[derive(Args)]
pub struct PredictionArgs {
    /// Treatment of texts longer than the model's context
    #[arg(long, value_enum, default_value_t)]
    pub on_long_text: OnLongText,
    /// Data type of the weights and of matrix products: float32, bfloat16, or float16 with CUDA
    #[arg(long, value_name = "TYPE", default_value = "float32")]
    pub dtype: DType,
}

/// Options of every command that reads a table, which is its argument `input`.
#[derive(Args)]
pub struct TableArgs {
    /// Text column [default: text]
    #[arg(long, value_name = "NAME", requires = "input",
          value_parser = NonEmptyStringValueParser::new())]
    pub text_column: Option<String>,
    /// Separator of CSV: tab, comma, semicolon, pipe or a character [default: detected]
    #[arg(long, value_name = "CHAR", requires = "input")]
    separator: Option<Separator>,
    /// Quotation mark around cells of CSV, or none to read quotation marks as text [default: ";
    /// none in TSV without a header]
    #[arg(long, value_name = "CHAR", requires = "input")]
    quote_char: Option<QuoteChar>,
    /// The first line of CSV is an example, not a header. Columns are named 1, 2, 3 …; two
    /// columns are label and text
    #[arg(long, requires = "input")]
    no_header: bool,
    /// Encoding: utf-8, utf-8-lossy (malformed bytes are replaced and counted), latin-1 (also
    /// windows-1252) or utf-16 [default: utf-16 if the first bytes are, else utf-8]
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<Encoding>,
}

impl TableArgs {
    /// Options of reading the table.
    pub fn options(&self, format: Option<Format>, label: Option<&String>) -> TableOptions {
        TableOptions {
            columns: Columns { text: self.text_column.clone(), label: label.cloned() },
            format,
            separator: self.separator,
            quote_char: self.quote_char,
            no_header: self.no_header,
            encoding: self.encoding,
        }
    }
}

/// Prints notes to standard error.
pub fn print_notes(notes: impl IntoIterator<Item = impl AsRef<str>>) {
    for note in notes {
        let _ = writeln!(io::stderr(), "note: {}", storage::terminal_safe(note.as_ref()));
    }
}
