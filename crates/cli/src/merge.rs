//! `gpt2-lora merge`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Result;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use gpt2_model::DType;
use trainer::inference::write_merged;

use crate::{
    output_folder::check_free,
    shared_args::{AdapterArgs, print_notes},
};

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora merge --adapter runs/gpt2-1/adapter --out runs/merged
  gpt2-lora merge --adapter runs/gpt2-1/adapter --out runs/merged --dtype float16

In Python: transformers.pipeline(\"text-classification\", model=\"runs/merged\"), and with
\"text-generation\" for a language model. Here: gpt2-lora predict or generate
--adapter runs/merged";

#[derive(Args)]
pub struct MergeArgs {
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Output directory of the model
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
    let options = args.adapter.options()?;
    let notes = write_merged(&args.adapter.adapter, &options, &args.out, args.dtype)?;
    print_notes(notes);
    let _ = writeln!(io::stderr(), "wrote {}", args.out.display());
    Ok(())
}
