//! `gpt2-lora generate`

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};
use clap::{Args, builder::NonEmptyStringValueParser};
use dataset::{END_OF_TEXT, Tokenizer};
use gpt2_model::{GenerateConfig, RandomSampling, Sampling, generate};

use crate::shared_args::{ComputeArgs, print_notes};

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora generate --prompt \"Every effort moves you\"
  gpt2-lora generate --model weights/gpt2-medium --prompt \"The moon\" --top-k 50 --seed 7";

#[derive(Args)]
pub struct GenerateArgs {
    /// Model: directory with config.json and model.safetensors, name of a directory below
    /// weights/, or OWNER/NAME of a checkpoint that was fetched from the Hugging Face Hub
    #[arg(long, value_name = "DIR|NAME", default_value = "gpt2",
          value_parser = NonEmptyStringValueParser::new())]
    model: String,
    /// Text to continue
    #[arg(long)]
    prompt: String,
    /// Maximum number of new tokens
    #[arg(long, value_name = "N", default_value_t = 50)]
    max_new_tokens: usize,
    /// Sampling temperature [default: greedy, the most probable token]
    #[arg(long, value_name = "X")]
    temperature: Option<f64>,
    /// Sample among the N most probable tokens
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Seed for sampling
    #[arg(long, value_name = "N", default_value_t = 123)]
    seed: u64,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Initialize the weights randomly instead of loading them; only config.json is needed
    #[arg(long)]
    random_init: bool,
}

pub fn run(args: &GenerateArgs) -> Result<()> {
    let device = args.compute.apply()?;
    let folder = trainer::config::paths::model(&args.model, args.random_init)?;
    if !args.random_init {
        Tokenizer::check_model(&folder)?;
    }
    let model = trainer::config::paths::load(&folder, args.random_init, args.seed, device)?;
    print_notes(model.notes());
    let tokenizer = Tokenizer::gpt2();
    let prompt: Vec<i64> = tokenizer.encode(&args.prompt).into_iter().map(i64::from).collect();
    let sampling = match (args.temperature, args.top_k) {
        (None, None) => Sampling::Greedy,
        (temperature, top_k) => {
            let sampling = RandomSampling { top_k, seed: args.seed, ..RandomSampling::default() };
            let temperature = temperature.unwrap_or(sampling.temperature);
            Sampling::Random(RandomSampling { temperature, ..sampling })
        }
    };
    let config = GenerateConfig {
        max_new_tokens: args.max_new_tokens,
        sampling,
        stop_tokens: vec![i64::from(END_OF_TEXT)],
        ..GenerateConfig::default()
    };
    // A token may be a fraction of a character, so the text is printed at the end.
    let is_terminal = std::io::stderr().is_terminal();
    let new = generate(&model, &prompt, &config, |_| {
        if is_terminal {
            let _ = write!(std::io::stderr(), ".");
        }
    })?;
    if is_terminal {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    let all: Vec<u32> =
        prompt.iter().chain(&new).filter_map(|&id| u32::try_from(id).ok()).collect();
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", tokenizer.decode(&all)).context("cannot write to standard output")
}
