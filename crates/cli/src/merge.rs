//! `gpt2-lora merge`

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use gpt2_model::StorageType;

use crate::folder::free;

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora merge --adapter runs/gpt2-1/adapter --out spam-model
  gpt2-lora merge --adapter runs/gpt2-1/adapter --out spam-model --dtype float16

In Python: transformers.AutoModelForSequenceClassification.from_pretrained(\"spam-model\").
The tokenizer is GPT-2's.";

/// How numbers are stored.
#[derive(Clone, Copy, ValueEnum)]
enum Storage {
    /// As they are
    Float32,
    /// In half the space
    Float16,
}

#[derive(Args)]
pub struct MergeArgs {
    /// Folder of a trained adapter
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// Base model: a folder, or the name of one below weights/ [default: the one
    /// that the adapter was trained on]
    #[arg(long, value_name = "DIR|NAME")]
    model: Option<String>,
    /// Folder for the model
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How its numbers are stored
    #[arg(long, value_enum, default_value = "float32")]
    dtype: Storage,
}

pub fn run(args: &MergeArgs) -> Result<()> {
    free(&args.out)?;
    let storage = match args.dtype {
        Storage::Float32 => StorageType::Float32,
        Storage::Float16 => StorageType::Float16,
    };
    trainer::write_merged(&args.adapter, args.model.as_deref(), &args.out, storage)?;
    eprintln!("wrote {}", args.out.display());
    Ok(())
}
