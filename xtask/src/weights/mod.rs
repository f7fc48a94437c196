//! `cargo xtask fetch-weights`: a pretrained GPT-2 from the Hugging Face hub, at a
//! pinned revision and checked.
//!
//! The `hf-hub` crate fetches into its own cache layout, checks no sums and knows
//! no offline mode; with the download of `net` at hand, the few addresses below
//! are all that is left to say.

mod hub;
mod models;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use crate::{
    net::{Client, Expected, Request, Sum, download, part_of},
    root::{Lock, make_folder, show},
};
use hub::{Hub, Listing};
use models::{MODELS, Model};

pub const HELP: &str = "\
Environment:
  HF_ENDPOINT     another hub, a mirror for example [default: https://huggingface.co]
  HF_TOKEN        an access token (else the one that `hf auth login` stored)
  HF_HUB_OFFLINE  1: take files from the cache only
  HF_HUB_CACHE, HF_HOME  the cache, which is looked into first
  HTTPS_PROXY     a proxy

Examples:
  cargo xtask fetch-weights
  cargo xtask fetch-weights gpt2-medium
  HF_ENDPOINT=https://mirror.example cargo xtask fetch-weights";

/// The files of a model, the small one first: what is wrong shows at once.
const FILES: [&str; 2] = ["config.json", "model.safetensors"];

#[derive(Args, Clone, Debug)]
pub struct FetchArgs {
    /// Which GPT-2: 124, 355, 774 or 1,558 million parameters
    #[arg(value_parser = MODELS.map(|model| model.name), default_value = "gpt2")]
    model: String,
    /// Say what would be fetched, and fetch nothing
    #[arg(long)]
    dry_run: bool,
    /// Fetch files although they are there
    #[arg(long)]
    force: bool,
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
    make_folder(&folder)?;
    let _lock = Lock::take(&folder.join(".lock"), "fetch")?;
    let client = Client::new();
    for file in FILES {
        let to = folder.join(file);
        let wanted = Wanted { model, file, to: &to };
        if to.is_file() && !args.force {
            wanted.check_present()?;
            eprintln!("{} is there", show(root, &to));
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
            println!("{shown}: is there");
        } else if let Some(cached) = hub.cached(model, file) {
            println!("{shown}: would be copied from {}", cached.path.display());
        } else if hub.offline {
            println!("{shown}: is missing, and HF_HUB_OFFLINE forbids fetching it");
        } else {
            let size = model.expected(file).size;
            let size = size.map_or(String::new(), |size| format!(" ({size} bytes)"));
            println!("{shown}: would be fetched from {}{size}", hub.address(model, file)?);
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
    /// Refuses a file that is in place and not the published one.
    fn check_present(&self) -> Result<()> {
        self.model.expected(self.file).check(self.to).with_context(|| {
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
            match copy_checked(&cached.path, &expected, self.to) {
                Ok(()) => {
                    eprintln!("{shown} is from the cache ({})", cached.path.display());
                    return Ok(());
                }
                Err(error) => {
                    let path = cached.path.display();
                    eprintln!("{path} in the cache is of no use ({error:#}): fetching the file");
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
                "{shown} cannot be fetched (run the command again to go on; HF_ENDPOINT, now {}, \
                 names a mirror, HF_TOKEN your access token, HTTPS_PROXY a proxy; or put the file \
                 there by hand)",
                hub.endpoint
            )
        };
        let listing = hub.listing(client, &address).with_context(advice)?;
        let expected = self.expected(&listing).with_context(advice)?;
        let request = hub.authorised(Request::get(address));
        download(client, &request, &expected, self.to).with_context(advice)?;
        if expected.sum.is_none() {
            self.check_shape()?;
            eprintln!("note: the server gives no checksum for {}", self.file);
        }
        eprintln!("{shown} is there");
        Ok(())
    }

    /// What is known of the file: what is pinned here, else what the hub says.
    fn expected(&self, listing: &Listing) -> Result<Expected> {
        let pinned = self.model.expected(self.file);
        let expected = Expected {
            size: pinned.size.or(listing.size),
            sum: pinned.sum.or(listing.sum.clone()),
        };
        if expected.sum.is_none() && self.file != "config.json" {
            bail!("the server gives no checksum (X-Linked-Etag) for it");
        }
        Ok(expected)
    }

    /// Where nothing else is known of a `config.json`: it must describe the model.
    fn check_shape(&self) -> Result<()> {
        let bad = |why: &str| {
            let to = self.to.display();
            // It has its name already, and must not keep it.
            let _ = fs::remove_file(self.to);
            anyhow!(
                "what was fetched as {to} is not the configuration of {}: {why}",
                self.model.name
            )
        };
        let text = fs::read_to_string(self.to).map_err(|error| bad(&error.to_string()))?;
        let config: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| bad(&error.to_string()))?;
        for (key, value) in self.model.shape() {
            if config[key] != value {
                return Err(bad(&format!("{key} is {}, expected {value}", config[key])));
            }
        }
        Ok(())
    }
}

/// Copies a file under another name first, so that the right name is never that
/// of half a file.
fn copy_checked(from: &Path, expected: &Expected, to: &Path) -> Result<()> {
    expected.check(from)?;
    let part: PathBuf = part_of(to);
    fs::copy(from, &part).with_context(|| format!("cannot write {}", part.display()))?;
    fs::rename(&part, to).with_context(|| format!("cannot write {}", to.display()))
}

impl Model {
    /// What is known of a file of the model without asking anyone.
    fn expected(&self, file: &str) -> Expected {
        match self.weights {
            Some((size, digits)) if file == "model.safetensors" => {
                Expected { size: Some(size), sum: Sum::parse(digits) }
            }
            _ => Expected::default(),
        }
    }
}
