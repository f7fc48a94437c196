//! `gpt2-lora merge`

use std::path::PathBuf;

use anyhow::Result;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use gpt2_model::DType;
use trainer::inference::write_merged;

use crate::{output_folder::check_free, shared_args::AdapterArgs};

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora merge --adapter runs/gpt2-1/adapter --out spam-model
  gpt2-lora merge --adapter runs/gpt2-1/adapter --out spam-model --dtype float16

In Python: transformers.AutoModelForSequenceClassification.from_pretrained(\"spam-model\").
The tokenizer is GPT-2's.";

#[derive(Args)]
pub struct MergeArgs {
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Folder for the model
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Data type of the stored weights
    #[arg(long, default_value = "float32",
        value_parser = PossibleValuesParser::new(["float32", "float16", "bfloat16"])
            .try_map(|name| name.parse::<DType>()))]
    dtype: DType,
}

pub fn run(args: &MergeArgs) -> Result<()> {
    check_free(&args.out)?;
    let AdapterArgs { adapter, model, compute } = &args.adapter;
    let device = compute.apply()?;
    let note = write_merged(adapter, model.as_deref(), device, &args.out, args.dtype)?;
    if let Some(note) = note {
        eprintln!("note: {note}");
    }
    eprintln!("wrote {}", args.out.display());
    Ok(())
}
