//! One file of a repository: from the cache, else from the hub, verified.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{
    hub::{File, Hub},
    source::Source,
};
use crate::net::{Client, Expected, Request, address, fetch_part, part_of};

/// Maximum size of a file whose size the hub does not report.
const MOST: u64 = 16 << 30;

/// A file of a repository and the place it is to have.
pub struct Wanted<'a> {
    pub hub: &'a Hub,
    pub client: &'a Client,
    pub source: &'a Source,
    pub file: &'a str,
    pub to: &'a Path,
    /// The place for messages.
    pub shown: String,
    /// Size and checksum, as far as they are known.
    pub known: Expected,
    /// Another way to get the file, for messages.
    pub alternative: &'a str,
}

/// The place that a file was fetched from.
pub enum Origin {
    Cache(PathBuf),
    Hub,
}

impl Wanted<'_> {
    /// Fetches the file. `keep` gives the verified file its name; it may refuse one without a
    /// checksum.
    pub fn fetch(&self, keep: impl Fn(&Path, &Expected) -> Result<()>) -> Result<Origin> {
        let shown = &self.shown;
        if let Some(cached) = self.hub.cached(self.source, self.file) {
            let mut expected = self.known.clone();
            expected.sum = expected.sum.or(cached.sum);
            match self.copy(&cached.path, &expected, &keep) {
                Ok(()) => return Ok(Origin::Cache(cached.path)),
                Err(error) => {
                    let path = cached.path.display();
                    say!("{path} in the cache is of no use ({error:#}): fetching the file");
                }
            }
        }
        if self.hub.offline {
            bail!(
                "{shown} is not in the cache {}, and HF_HUB_OFFLINE or --offline forbids fetching it: \
                 unset it{}",
                self.hub.cache.display(),
                self.alternative
            );
        }
        let (part, expected) = self.download().map_err(|error| {
            // A file that is missing is not the same as a repository that is missing.
            let remedy = self.hub.remedy(&error, self.source).filter(|_| is_refused(&error));
            let advice = remedy.unwrap_or_else(|| {
                format!(
                    "run the command again to resume; HF_ENDPOINT, now {}, names a mirror, HF_TOKEN \
                     your access token, HTTPS_PROXY a proxy",
                    address::shown(&self.hub.endpoint),
                )
            });
            error.context(format!("{shown} cannot be fetched ({advice}{})", self.alternative))
        })?;
        keep(&part, &expected)?;
        if expected.sum.is_none() {
            say!("note: the server gives no checksum for {}", self.file);
        }
        Ok(Origin::Hub)
    }

    fn download(&self) -> Result<(PathBuf, Expected)> {
        let address = self.hub.address(self.source, self.file)?;
        let mut expected = Expected { most: Some(MOST), ..self.known.clone() };
        if expected.size.is_none() || expected.sum.is_none() {
            let listing = self.hub.listing(self.client, &address)?;
            expected.size = expected.size.or(listing.size);
            expected.sum = expected.sum.or(listing.sum);
        }
        // Settings can be validated, numbers cannot.
        let is_weights = self.file.ends_with(".safetensors") || self.file.ends_with(".bin");
        if expected.sum.is_none() && is_weights {
            bail!("the server gives no checksum (X-Linked-Etag) for it");
        }
        let request = self.hub.with_token(Request::get(address));
        Ok((fetch_part(self.client, &request, &expected, self.to)?, expected))
    }

    /// Copies a file of the cache and verifies the copy.
    fn copy(
        &self,
        from: &Path,
        expected: &Expected,
        keep: impl Fn(&Path, &Expected) -> Result<()>,
    ) -> Result<()> {
        let part = part_of(self.to);
        let cannot_write = || format!("cannot write {}", part.display());
        fs::copy(from, &part).with_context(cannot_write)?;
        fs::File::open(&part).and_then(|file| file.sync_all()).with_context(cannot_write)?;
        let checked = expected.check(&part).and_then(|()| keep(&part, expected));
        if checked.is_err() {
            fs::remove_file(&part).with_context(cannot_write)?;
        }
        checked
    }
}

/// Says what would be done for a file with this place, which is kept if it is there.
pub fn plan(
    hub: &Hub,
    source: &Source,
    File { name, expected }: &File,
    shown: &impl fmt::Display,
    is_kept: bool,
) -> Result<()> {
    if is_kept {
        tell!("{shown}: is there");
    } else if let Some(cached) = hub.cached(source, name) {
        tell!("{shown}: would be copied from {}", cached.path.display());
    } else if hub.offline {
        tell!("{shown}: is missing, and HF_HUB_OFFLINE or --offline forbids fetching it");
    } else {
        let size = expected.size.map_or(String::new(), |size| format!(" ({size} bytes)"));
        let address = hub.address(source, name)?;
        tell!("{shown}: would be fetched from {}{size}", address::shown(&address));
    }
    Ok(())
}

/// Returns whether the server wants another account.
fn is_refused(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<crate::net::Refusal>();
    refusal.is_some_and(|refusal| matches!(refusal.status.as_u16(), 401 | 403))
}
