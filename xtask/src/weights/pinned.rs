//! The four published models, at pinned revisions.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use storage::{create_directory, rename};

use super::{
    Options,
    hub::{File, Hub},
    models::Model,
    wanted::{self, Origin, Wanted},
};
use crate::{
    net::{Client, Expected, Sum},
    sha256sums,
    workspace::{Lock, show},
};

/// Files of a model, the small one first so that problems show at once.
const FILES: [&str; 2] = ["config.json", "model.safetensors"];

pub fn fetch(hub: &Hub, model: &Model, options: &Options<'_>) -> Result<()> {
    let Options { root, folder, force, dry_run } = *options;
    if dry_run {
        return plan(root, hub, model, folder, force);
    }
    create_directory(folder)?;
    let _lock = Lock::take(&folder.join(".lock"), "fetch")?;
    let (client, source) = (Client::new(), model.source());
    for file in FILES {
        let to = folder.join(file);
        let shown = show(root, &to).to_string();
        if to.is_file() && !force {
            model.check_present(file, &to)?;
            say!("{shown} is there");
            continue;
        }
        let wanted = Wanted {
            hub,
            client: &client,
            source: &source,
            file,
            to: &to,
            shown: shown.clone(),
            known: model.expected(file),
            alternative: ", or put the file there by hand",
        };
        match wanted.fetch(|part, expected| model.keep(file, part, &to, expected))? {
            Origin::Cache(path) => say!("{shown} is from the cache ({})", path.display()),
            Origin::Hub => say!("{shown} is there"),
        }
    }
    Ok(())
}

/// Says what would be done.
fn plan(root: &Path, hub: &Hub, model: &Model, folder: &Path, force: bool) -> Result<()> {
    let source = model.source();
    FILES.into_iter().try_for_each(|name| {
        let to = folder.join(name);
        let file = File { name: name.to_owned(), expected: model.expected(name) };
        wanted::plan(hub, &source, &file, &show(root, &to), to.is_file() && !force)
    })
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

    /// Refuses an existing file that differs from the published one.
    fn check_present(&self, file: &str, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(path);
        let published = self.expected(file);
        let checked = published.check(path).and_then(|()| match published.sum {
            Some(_) => Ok(()),
            None => sha256sums::check_file(folder, file),
        });
        checked.with_context(|| {
            format!(
                "{} is not the published file; --force fetches that one in its place",
                path.display()
            )
        })
    }

    /// Verifies a file and gives it its final name.
    fn keep(&self, file: &str, part: &Path, to: &Path, expected: &Expected) -> Result<()> {
        if expected.sum.is_none()
            && let Err(why) = self.check_shape(part)
        {
            // A fetch does not resume it.
            let _ = fs::remove_file(part);
            bail!(
                "what was found as {} is not the configuration of {}: {why:#}",
                to.display(),
                self.name
            );
        }
        rename(part, to)?;
        sha256sums::remember(to.parent().unwrap_or(to), &[file])
    }

    /// Checks a `config.json` without a checksum: it must describe the model.
    fn check_shape(&self, path: &Path) -> Result<()> {
        let config: serde_json::Value = serde_json::from_str(&fs::read_to_string(path)?)?;
        for (key, value) in self.shape() {
            if config[key] != value {
                bail!("{key} is {}, expected {value}", config[key]);
            }
        }
        Ok(())
    }
}
