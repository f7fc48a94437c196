//! `gpt2-lora export`

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::folder::free;

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora export --adapter runs/gpt2-1/adapter --format peft --out spam-peft

In Python:
  base = AutoModelForSequenceClassification.from_pretrained(
      \"gpt2\", num_labels=2, pad_token_id=50256)
  model = PeftModel.from_pretrained(base, \"spam-peft\")
Adapters that PEFT wrote need no conversion to come back: give --adapter their folder.";

/// A format of adapters.
#[derive(Clone, Copy, ValueEnum)]
enum AdapterFormat {
    /// Hugging Face PEFT
    Peft,
}

#[derive(Args)]
pub struct ExportArgs {
    /// Folder of a trained adapter
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// Base model: a folder, or the name of one below weights/ [default: the one
    /// that the adapter was trained on]
    #[arg(long, value_name = "DIR|NAME")]
    model: Option<String>,
    /// What to write
    #[arg(long, value_enum, default_value = "peft")]
    format: AdapterFormat,
    /// Folder for the exported adapter
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &ExportArgs) -> Result<()> {
    free(&args.out)?;
    match args.format {
        AdapterFormat::Peft => {
            let done = trainer::export_peft(&args.adapter, args.model.as_deref(), &args.out)?;
            if done.rounded {
                eprintln!(
                    "note: the adapter was trained on rounded weights, and PEFT will load them \
                     whole: logits will differ by that. `gpt2-lora merge` writes the rounded model"
                );
            }
        }
    }
    eprintln!("wrote {}", args.out.display());
    Ok(())
}
