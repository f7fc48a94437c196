//! `gpt2-lora predict`

use std::{
    io::{BufRead, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::Args;
use gpt2_model::{DeviceChoice, resolve_device};
use serde_json::json;
use trainer::{Classified, Predictor};

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora predict --adapter runs/gpt2-1/adapter \"Are you home by six?\"
  gpt2-lora predict --adapter runs/gpt2-1/adapter --json < messages.txt";

/// Lines of standard input that are classified at a time.
const LINES: usize = 256;

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
    #[arg(long)]
    json: bool,
    /// Texts to classify [default: the lines of standard input]
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
}

pub fn run(args: &PredictArgs) -> Result<()> {
    let device = resolve_device(args.device)?;
    let predictor = Predictor::load(&args.adapter, args.model.as_deref(), device)?;
    if !args.texts.is_empty() {
        return print(&predictor, &args.texts, args.json);
    }
    let mut waiting = Vec::with_capacity(LINES);
    for (number, line) in (1..).zip(std::io::stdin().lock().lines()) {
        waiting.push(line.with_context(|| format!("standard input, line {number}"))?);
        if waiting.len() == LINES {
            print(&predictor, &waiting, args.json)?;
            waiting.clear();
        }
    }
    print(&predictor, &waiting, args.json)
}

fn print(predictor: &Predictor, texts: &[String], as_json: bool) -> Result<()> {
    let mut output = std::io::stdout().lock();
    for (text, classified) in texts.iter().zip(predictor.predict(texts)?) {
        let line = if as_json {
            let Classified { label, probabilities } = &classified;
            let by_label: serde_json::Map<_, _> = predictor
                .labels()
                .iter()
                .cloned()
                .zip(probabilities.iter().map(|&p| p.into()))
                .collect();
            json!({"text": text, "label": label, "probabilities": by_label}).to_string()
        } else {
            format!("{}\t{:.3}\t{text}", classified.label, classified.confidence())
        };
        writeln!(output, "{line}").context("cannot write to standard output")?;
    }
    Ok(())
}
