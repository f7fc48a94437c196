//! `cargo xtask fetch-weights`: a pretrained GPT-2 from the Hugging Face hub, at a
//! pinned revision and verified.
//!
//! The `hf-hub` crate fetches into its own cache layout, verifies no checksums and has no
//! offline mode; on top of `net` only a few URLs are needed.

mod hub;
mod models;

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use storage::{create_directory, rename};

use crate::{
    net::{Client, Expected, Request, Sum, address, fetch_part, part_of},
    sha256sums,
    workspace::{Lock, show},
};
use hub::{Hub, Listing};
use models::{MODELS, Model};

pub const HELP: &str = "\
Environment:
  HF_ENDPOINT     another hub, a mirror for example [default: https://huggingface.co]
  HF_TOKEN        an access token (else the one that `hf auth login` stored)
  HF_HUB_OFFLINE  1: take files from the cache only
  HF_HUB_CACHE, HF_HOME  the cache, which is used first
  HTTPS_PROXY     a proxy

Examples:
  cargo xtask fetch-weights
  cargo xtask fetch-weights gpt2-medium
  HF_ENDPOINT=https://mirror.example cargo xtask fetch-weights";

/// Maximum size of a file whose size the hub does not report.
const MOST: u64 = 16 << 30;
/// Files of a model, the small one first so that problems show at once.
const FILES: [&str; 2] = ["config.json", "model.safetensors"];

#[derive(Args, Clone, Debug)]
pub struct FetchArgs {
    /// Model: GPT-2 with 124, 355, 774 or 1,558 million parameters, also by its name on the
    /// hub (openai-community/gpt2)
    #[arg(value_parser = parse_model(), default_value = "gpt2")]
    model: String,
    /// Print what would be fetched, without fetching it
    #[arg(long)]
    dry_run: bool,
    /// Fetch files again that exist
    #[arg(long)]
    force: bool,
}

/// Parses the name of a model, also the one that it has on the hub.
fn parse_model() -> impl TypedValueParser<Value = String> {
    let names =
        MODELS.each_ref().map(|model| PossibleValue::new(model.name).alias(model.repository));
    PossibleValuesParser::new(names)
        .map(|name| name.rsplit('/').next().unwrap_or_default().to_owned())
}

pub fn fetch(root: &Path, args: &FetchArgs) -> Result<()> {
    let model = MODELS
        .iter()
        .find(|model| model.name == args.model)
        .ok_or_else(|| anyhow!("there is no model {}", args.model))?;
    let folder = root.join("weights").join(model.name);
    let hub = Hub::from_environment()?;
    if args.dry_run {
        return plan(root, &hub, model, &folder, args.force);
    }
    create_directory(&folder)?;
    let _lock = Lock::take(&folder.join(".lock"), "fetch")?;
    let client = Client::new();
    for file in FILES {
        let to = folder.join(file);
        let wanted = Wanted { model, file, to: &to };
        if to.is_file() && !args.force {
            wanted.check_present()?;
            say!("{} is there", show(root, &to));
        } else {
            wanted.fetch(root, &hub, &client)?;
        }
    }
    Ok(())
}

/// Says what would be done.
fn plan(root: &Path, hub: &Hub, model: &Model, folder: &Path, force: bool) -> Result<()> {
    for file in FILES {
        let to = folder.join(file);
        let shown = show(root, &to);
        if to.is_file() && !force {
            tell!("{shown}: is there");
        } else if let Some(cached) = hub.cached(model, file) {
            tell!("{shown}: would be copied from {}", cached.path.display());
        } else if hub.offline {
            tell!("{shown}: is missing, and HF_HUB_OFFLINE forbids fetching it");
        } else {
            let size = model.expected(file).size;
            let size = size.map_or(String::new(), |size| format!(" ({size} bytes)"));
            tell!(
                "{shown}: would be fetched from {}{size}",
                address::shown(&hub.address(model, file)?)
            );
        }
    }
    Ok(())
}

/// A file of a model and the place it is to have.
struct Wanted<'a> {
    model: &'a Model,
    file: &'a str,
    to: &'a Path,
}

impl Wanted<'_> {
    /// Refuses an existing file that differs from the published one.
    fn check_present(&self) -> Result<()> {
        let folder = self.to.parent().unwrap_or(self.to);
        let published = self.model.expected(self.file);
        let checked = published.check(self.to).and_then(|()| match published.sum {
            Some(_) => Ok(()),
            None => sha256sums::check_file(folder, self.file),
        });
        checked.with_context(|| {
            format!(
                "{} is not the published file; --force fetches that one in its place",
                self.to.display()
            )
        })
    }

    fn fetch(&self, root: &Path, hub: &Hub, client: &Client) -> Result<()> {
        let shown = show(root, self.to);
        if let Some(cached) = hub.cached(self.model, self.file) {
            let mut expected = self.model.expected(self.file);
            expected.sum = expected.sum.or(cached.sum);
            match self.copy(&cached.path, &expected) {
                Ok(()) => {
                    say!("{shown} is from the cache ({})", cached.path.display());
                    return Ok(());
                }
                Err(error) => {
                    let path = cached.path.display();
                    say!("{path} in the cache is of no use ({error:#}): fetching the file");
                }
            }
        }
        if hub.offline {
            bail!(
                "{shown} is not in the cache {}, and HF_HUB_OFFLINE forbids fetching it: unset it, \
                 or put the file there by hand",
                hub.cache.display()
            );
        }
        let address = hub.address(self.model, self.file)?;
        let advice = || {
            format!(
                "{shown} cannot be fetched (run the command again to resume; HF_ENDPOINT, now {}, \
                 names a mirror, HF_TOKEN your access token, HTTPS_PROXY a proxy; or put the file \
                 there by hand)",
                address::shown(&hub.endpoint)
            )
        };
        let listing = hub.listing(client, &address).with_context(advice)?;
        let expected = self.expected(&listing).with_context(advice)?;
        let request = hub.with_token(Request::get(address));
        let part = fetch_part(client, &request, &expected, self.to).with_context(advice)?;
        self.keep(&part, &expected)?;
        if expected.sum.is_none() {
            say!("note: the server gives no checksum for {}", self.file);
        }
        say!("{shown} is there");
        Ok(())
    }

    /// Size and checksum, pinned or else from the hub.
    fn expected(&self, listing: &Listing) -> Result<Expected> {
        let pinned = self.model.expected(self.file);
        let expected = Expected {
            size: pinned.size.or(listing.size),
            sum: pinned.sum.or(listing.sum.clone()),
            most: Some(MOST),
        };
        if expected.sum.is_none() && self.file != "config.json" {
            bail!("the server gives no checksum (X-Linked-Etag) for it");
        }
        Ok(expected)
    }

    /// Copies a file of the cache and verifies the copy.
    fn copy(&self, from: &Path, expected: &Expected) -> Result<()> {
        let part = part_of(self.to);
        let cannot_write = || format!("cannot write {}", part.display());
        fs::copy(from, &part).with_context(cannot_write)?;
        File::open(&part).and_then(|file| file.sync_all()).with_context(cannot_write)?;
        let checked = expected.check(&part).and_then(|()| self.keep(&part, expected));
        if checked.is_err() {
            fs::remove_file(&part).with_context(cannot_write)?;
        }
        checked
    }

    /// Verifies a file and gives it its final name.
    fn keep(&self, part: &Path, expected: &Expected) -> Result<()> {
        if expected.sum.is_none()
            && let Err(why) = self.check_shape(part)
        {
            // A fetch does not resume it.
            let _ = fs::remove_file(part);
            bail!(
                "what was found as {} is not the configuration of {}: {why:#}",
                self.to.display(),
                self.model.name
            );
        }
        rename(part, self.to)?;
        sha256sums::remember(self.to.parent().unwrap_or(self.to), &[self.file])
    }

    /// Checks a `config.json` without a checksum: it must describe the model.
    fn check_shape(&self, path: &Path) -> Result<()> {
        let config: serde_json::Value = serde_json::from_str(&fs::read_to_string(path)?)?;
        for (key, value) in self.model.shape() {
            if config[key] != value {
                bail!("{key} is {}, expected {value}", config[key]);
            }
        }
        Ok(())
    }
}

impl Model {
    /// Pinned size and checksum of a file.
    fn expected(&self, file: &str) -> Expected {
        match self.weights {
            Some((size, digits)) if file == "model.safetensors" => {
                Expected { size: Some(size), sum: Sum::parse(digits), most: None }
            }
            _ => Expected::default(),
        }
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
                assert_eq!(parse(name).unwrap(), model.name);
            }
        }
        for unknown in ["openai-community/gpt3", "someone/gpt2", "gpt2/", ""] {
            assert!(parse(unknown).is_err(), "{unknown}");
        }
    }
}
