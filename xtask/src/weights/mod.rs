//! `cargo xtask fetch-weights`: a pretrained GPT-2 from the Hugging Face hub, verified.
//!
//! The `hf-hub` crate fetches into its own cache layout, verifies no checksums and has no
//! offline mode; on top of `net` only a few URLs are needed.

mod checkpoint;
mod choice;
mod hub;
mod models;
mod pinned;
mod record;
mod source;
mod wanted;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use hub::Hub;
use models::{MODELS, Model};
use source::Source;

pub const HELP: &str = "\
gpt2, gpt2-medium, gpt2-large and gpt2-xl are fetched at pinned revisions into weights/NAME, any
other checkpoint of GPT-2's architecture into weights/OWNER--NAME, with its tokenizer.

Environment:
  HF_ENDPOINT     another hub, a mirror for example [default: https://huggingface.co]
  HF_TOKEN        an access token (else the one that `hf auth login` stored)
  HF_HUB_OFFLINE  1: take files from the cache only, as --offline
  HF_HUB_CACHE, HF_HOME  the cache, which is used first
  HTTPS_PROXY     a proxy

Examples:
  cargo xtask fetch-weights
  cargo xtask fetch-weights gpt2-medium
  cargo xtask fetch-weights distilbert/distilgpt2
  cargo xtask fetch-weights OWNER/NAME@v1.0 --out weights/mine
  HF_ENDPOINT=https://mirror.example cargo xtask fetch-weights";

#[derive(Args, Clone, Debug)]
pub struct FetchArgs {
    /// Model: gpt2, gpt2-medium, gpt2-large, gpt2-xl (124, 355, 774 and 1,558 million parameters),
    /// or OWNER/NAME on the Hugging Face Hub, also with a revision: OWNER/NAME@REVISION
    #[arg(value_parser = parse_model, default_value = "gpt2")]
    model: Target,
    /// Directory to fetch into [default: weights/NAME or weights/OWNER--NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Use only files that were fetched before, and the cache
    #[arg(long)]
    offline: bool,
    /// Print what would be fetched, without fetching it
    #[arg(long)]
    dry_run: bool,
    /// Fetch files again that exist
    #[arg(long)]
    force: bool,
}

/// A model that can be fetched.
#[derive(Clone, Debug)]
enum Target {
    Pinned(&'static Model),
    Hub(Source),
}

/// Parses the name of a model; pinned models are also known by their names on the hub.
fn parse_model(text: &str) -> Result<Target, String> {
    if let Some(model) = MODELS.iter().find(|model| [model.name, model.repository].contains(&text))
    {
        return Ok(Target::Pinned(model));
    }
    let names = MODELS.each_ref().map(|model| model.name).join(", ");
    Source::parse(text).map(Target::Hub).map_err(|error| format!("{error}, or {names}"))
}

/// The place and the manner of a fetch.
#[derive(Clone, Copy)]
struct Options<'a> {
    root: &'a Path,
    folder: &'a Path,
    force: bool,
    dry_run: bool,
}

pub fn fetch(root: &Path, args: &FetchArgs) -> Result<()> {
    let mut hub = Hub::from_environment()?;
    hub.offline |= args.offline;
    let name = match &args.model {
        Target::Pinned(model) => model.name,
        Target::Hub(source) => &source.directory,
    };
    let folder = args.out.clone().unwrap_or_else(|| root.join("weights").join(name));
    let options = Options { root, folder: &folder, force: args.force, dry_run: args.dry_run };
    match &args.model {
        Target::Pinned(model) => pinned::fetch(&hub, model, &options),
        Target::Hub(source) => checkpoint::fetch(&hub, source, &options),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: FetchArgs,
    }

    #[test]
    fn hub_names_of_models_are_accepted() {
        let parse = |name: &str| Program::try_parse_from(["fetch", name]).map(|it| it.args.model);
        for model in &MODELS {
            for name in [model.name, model.repository] {
                let parsed = parse(name).unwrap();
                assert!(matches!(parsed, Target::Pinned(found) if found.name == model.name));
            }
        }
        for name in ["someone/gpt2", "openai-community/gpt2@main"] {
            assert!(matches!(parse(name).unwrap(), Target::Hub(_)), "{name}");
        }
        for unknown in ["gpt3", "gpt2/", "gpt2@main", ""] {
            let error = parse(unknown).unwrap_err().to_string();
            assert!(error.contains("expected OWNER/NAME") && error.contains("gpt2-xl"), "{error}");
        }
    }
}
