//! `gpt2-lora inspect`

use std::{io::Write, path::Path};

use anyhow::{Context, Result};
use clap::Args;
use gpt2_model::{format_tree, plain};
use lora::AdapterState;
use serde_json::json;
use tch::Device;
use trainer::LastCheckpoint;

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora inspect gpt2
  gpt2-lora inspect runs/gpt2-1/adapter
  gpt2-lora inspect runs/gpt2-1";

#[derive(Args)]
pub struct InspectArgs {
    /// A model (folder or name below weights/), the folder of an adapter, or that of a run,
    /// finished or stopped
    #[arg(value_name = "DIR|NAME")]
    what: String,
    /// Draw the model's weights instead of reading them; config.json is enough
    #[arg(long)]
    random_init: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &InspectArgs) -> Result<()> {
    let folder = Path::new(&args.what);
    // Its own, or that of a finished run.
    let mut adapters = [folder.to_owned(), folder.join("adapter")].into_iter();
    let text = if let Some(found) = adapters.find(|it| it.join(lora::CONFIG_FILE).is_file()) {
        adapter(&found, args.json)?
    } else if let Some(last) = trainer::last_checkpoint(folder)? {
        checkpoint(&last, args.json)?
    } else {
        model(args)?
    };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

fn model(args: &InspectArgs) -> Result<String> {
    let folder = trainer::places::model(&args.what, args.random_init)?;
    let model = trainer::places::load(&folder, args.random_init, 0, Device::Cpu)?;
    let tree = model.tree();
    let total: u64 = tree.iter().map(|line| line.parameters).sum();
    if args.json {
        let modules: Vec<_> = tree
            .iter()
            .map(|line| json!({"name": line.name, "about": line.about, "parameters": line.parameters}))
            .collect();
        let all = json!({"config": model.config(), "modules": modules, "total_parameters": total});
        return Ok(format!("{all:#}\n"));
    }
    Ok(format!("{}{} parameters\n", format_tree(&tree), trainer::grouped(total)))
}

fn checkpoint(last: &LastCheckpoint, as_json: bool) -> Result<String> {
    if as_json {
        return Ok(format!("{:#}\n", json!({"last_checkpoint": last})));
    }
    let LastCheckpoint { path, step, epoch, seconds } = last;
    Ok(format!(
        "A run that is not finished: {step} steps taken in {seconds:.0} s, epoch {epoch} goes on\n\
         Checkpoint: {}\nThe command that began it goes on with --resume\n",
        path.display()
    ))
}

fn adapter(folder: &Path, as_json: bool) -> Result<String> {
    let state = AdapterState::load(folder)?;
    let config = state.config();
    let total: usize = state.tensors().values().map(|tensor| tensor.numel()).sum();
    if as_json {
        let tensors: serde_json::Map<_, _> = state
            .tensors()
            .iter()
            .map(|(name, tensor)| (name.clone(), json!(tensor.size())))
            .collect();
        let all = json!({
            "config": config, "about": state.more(), "tensors": tensors, "total_parameters": total,
        });
        return Ok(format!("{all:#}\n"));
    }
    let mut text = format!(
        "LoRA adapter: rank {}, alpha {}, factor {} on the product\n",
        config.rank,
        config.alpha,
        config.factor()
    );
    for (name, value) in state.more() {
        text += &format!("{}: {}\n", plain(name), plain(&value.to_string()));
    }
    for (name, tensor) in state.tensors() {
        text += &format!("  {} {:?}\n", plain(name), tensor.size());
    }
    text += &format!("{} parameters\n", trainer::grouped(total as u64));
    Ok(text)
}
