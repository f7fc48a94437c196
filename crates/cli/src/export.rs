//! `gpt2-lora export`

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use trainer::inference::export_peft;

use crate::{output_folder::check_free, shared_args::AdapterArgs};

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora export --adapter runs/gpt2-1/adapter --format peft --out spam-peft

In Python:
  base = AutoModelForSequenceClassification.from_pretrained(
      \"gpt2\", num_labels=2, pad_token_id=50256)
  model = PeftModel.from_pretrained(base, \"spam-peft\")
Adapters written by PEFT need no conversion: give --adapter their folder.";

#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Format
    #[arg(long, default_value = "peft", value_parser = ["peft"])]
    format: String,
    /// Folder for the exported adapter
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &ExportArgs) -> Result<()> {
    check_free(&args.out)?;
    let AdapterArgs { adapter, model, compute } = &args.adapter;
    let device = compute.apply()?;
    let exported = export_peft(adapter, model.as_deref(), device, &args.out)?;
    if let Some(note) = &exported.base_note {
        eprintln!("note: {note}");
    }
    if exported.rounded {
        eprintln!(
            "note: the adapter was trained on rounded weights, but PEFT will load them unrounded, so \
             logits will differ; `gpt2-lora merge` writes the rounded model"
        );
    }
    eprintln!("wrote {} for {}", args.out.display(), args.format);
    Ok(())
}
