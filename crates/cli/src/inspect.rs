//! `gpt2-lora inspect`

use std::{io::Write, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, builder::NonEmptyStringValueParser};
use gpt2_model::format_tree;
use indicatif::HumanCount;
use lora::peft::PeftAdapter;
use serde_json::{Value, json};
use storage::terminal_safe;
use trainer::{config::NotFoundError, training::LastCheckpoint};

use crate::shared_args::{ComputeArgs, print_notes};

pub const EXAMPLES: &str = "\
Examples:
  gpt2-lora inspect gpt2
  gpt2-lora inspect runs/gpt2-1/adapter
  gpt2-lora inspect runs/gpt2-1";

/// Remedy for an argument that is something else.
const EXPECTED: &str = "give the directory of a model, an adapter or a run, or the name of a \
    directory below weights/, for example pocket";

#[derive(Args)]
pub struct InspectArgs {
    /// Model (directory, or name below weights/), directory of an adapter, or directory of a
    /// finished or unfinished run
    #[arg(value_name = "DIR|NAME", value_parser = NonEmptyStringValueParser::new())]
    path: String,
    /// Initialize the weights randomly instead of loading them; only config.json is needed
    #[arg(long)]
    random_init: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

pub fn run(args: &InspectArgs) -> Result<()> {
    if Path::new(&args.path).is_file() {
        bail!("{}: expected a directory, got a file; {EXPECTED}", args.path);
    }
    let folder = trainer::config::paths::snapshot(args.path.clone().into())?;
    // The directory itself, or the adapter of a finished run.
    let mut adapters = [folder.clone(), folder.join("adapter")].into_iter();
    let text = if let Some(found) = adapters.find(|path| path.join(lora::CONFIG_FILE).is_file()) {
        adapter(&found, args.json)?
    } else if let Some(last) = trainer::training::last_checkpoint(&folder)? {
        checkpoint(&last, args.json)?
    } else {
        model(args)?
    };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

fn model(args: &InspectArgs) -> Result<String> {
    let folder = trainer::config::paths::model(&args.path, args.random_init).map_err(|error| {
        match error {
            // The remedies of other commands are values of --model.
            trainer::Error::NotFound(NotFoundError::Model { directory, file }) => {
                anyhow!("{}: {file} is missing; {EXPECTED}", directory.display())
            }
            trainer::Error::NotFound(NotFoundError::PublishedModel { directory, file, model }) => {
                anyhow!(
                    "{}: {file} is missing; fetch it with `cargo xtask fetch-weights {model}`",
                    directory.display()
                )
            }
            trainer::Error::NotFound(NotFoundError::HubModel { repository, directory, file }) => {
                anyhow!(
                    "{repository}: there is no such directory, and {file} is missing in {}; fetch it \
                     with `cargo xtask fetch-weights {repository}`",
                    directory.display()
                )
            }
            error => error.into(),
        }
    })?;
    let model = trainer::config::paths::load(
        &folder,
        args.random_init.then_some(0),
        args.compute.apply()?,
    )?;
    print_notes(model.notes());
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
    Ok(format!("{}{} parameters\n", format_tree(&tree), HumanCount(total)))
}

fn checkpoint(last: &LastCheckpoint, as_json: bool) -> Result<String> {
    if as_json {
        return Ok(format!("{:#}\n", json!({"last_checkpoint": last})));
    }
    let LastCheckpoint { path, step, epoch, seconds } = last;
    Ok(format!(
        "Unfinished run: {step} steps in {seconds:.0} s, in epoch {epoch}\n\
         Checkpoint: {}\nResume it with the same command and --resume\n",
        path.display()
    ))
}

/// Longest line, in characters.
const WIDTH: usize = 120;
/// Hexadecimal digits shown of a digest.
const DIGEST_DIGITS: usize = 12;

/// Formats a value as JSON, a digest with its first digits.
fn shortened(value: &Value) -> String {
    match value.as_str() {
        Some(text)
            if text.len() > DIGEST_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            format!("\"{}…\"", &text[..DIGEST_DIGITS])
        }
        _ => value.to_string(),
    }
}

/// Returns a line that is safe to print and at most [`WIDTH`] characters long.
fn line(text: &str) -> String {
    let text = terminal_safe(text);
    let characters = text.chars().count();
    if characters <= WIDTH {
        return text + "\n";
    }
    let end = |kept: usize| format!("… ({} more characters)", characters - kept);
    let kept = WIDTH - end(0).chars().count();
    text.chars().take(kept).collect::<String>() + &end(kept) + "\n"
}

fn adapter(folder: &Path, as_json: bool) -> Result<String> {
    let saved = PeftAdapter::load(folder)?;
    print_notes(saved.notes());
    let metadata = trainer::inference::read_metadata(folder)?;
    let total: usize = saved.tensors().values().map(|tensor| tensor.numel()).sum();
    if as_json {
        let tensors: serde_json::Map<_, _> = saved
            .tensors()
            .iter()
            .map(|(name, tensor)| (name.clone(), json!(tensor.size())))
            .collect();
        let all = json!({
            "config": saved.settings(), "metadata": metadata, "tensors": tensors,
            "total_parameters": total,
        });
        return Ok(format!("{all:#}\n"));
    }
    let mut text = "LoRA adapter\n".to_owned();
    let settings = [serde_json::to_value(saved.settings())?, serde_json::to_value(metadata)?];
    for (name, value) in settings.iter().filter_map(|value| value.as_object()).flatten() {
        text += &line(&format!("{name}: {}", shortened(value)));
    }
    for (name, tensor) in saved.tensors() {
        text += &line(&format!("  {name} {:?}", tensor.size()));
    }
    text += &format!("{} parameters\n", HumanCount(total as u64));
    let has_rank = |settings: &Value| settings["rank_pattern"].get("c_attn").is_some();
    if has_rank(&settings[0]) && settings[1].get("lora").is_some_and(|trained| !has_rank(trained)) {
        text += "c_attn holds the adapters of query, key and value: lora_A one below the other, \
                 lora_B block-diagonal with zeros (docs/adapters.md)\n";
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_shortened() {
        let digest = "0123456789abcdef".repeat(90);
        assert_eq!(shortened(&json!(digest)), "\"0123456789ab…\"");
        assert_eq!(shortened(&json!("pocket")), "\"pocket\"");
        assert_eq!(shortened(&json!({"c_attn": 6})), "{\"c_attn\":6}");
    }

    #[test]
    fn lines_are_bounded_and_safe() {
        let labels: Vec<String> = (0..5000).map(|label| format!("é{label}")).collect();
        let text = line(&format!("labels: {}", json!(labels)));
        assert!(text.chars().count() <= WIDTH + 1, "{text}");
        assert!(
            text.starts_with("labels: [\"é0\"") && text.ends_with("more characters)\n"),
            "{text}"
        );
        assert_eq!(line("a\u{1b}[31m"), "a\\u{1b}[31m\n");
    }
}
