//! The Hugging Face hub, and its cache on this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, bail};
use ureq::http::StatusCode;
use url::Url;

use super::models::Model;
use crate::net::{Client, MOST_REDIRECTS, Request, Sum, address, header};

/// Settings for the hub, from the variables that Hugging Face's own tools use.
pub struct Hub {
    pub endpoint: Url,
    pub offline: bool,
    pub cache: PathBuf,
    token: Option<String>,
}

/// Size and checksum of a file on the hub.
#[derive(Debug, Default)]
pub struct Listing {
    pub size: Option<u64>,
    pub sum: Option<Sum>,
}

/// A file in the cache.
#[derive(Debug)]
pub struct Cached {
    pub path: PathBuf,
    /// The checksum that the cache keeps it under.
    pub sum: Option<Sum>,
}

impl Hub {
    pub fn from_environment() -> Result<Self> {
        let var = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let endpoint = address::parse(&endpoint, "HF_ENDPOINT")?;
        let offline = var("HF_HUB_OFFLINE").is_some_and(|value| {
            matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
        });
        let home = var("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let cache = var("XDG_CACHE_HOME").map(PathBuf::from);
            let own = || var("HOME").map(|home| Path::new(&home).join(".cache"));
            cache.or_else(own).unwrap_or_default().join("huggingface")
        });
        let cache = var("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from);
        let token_file = var("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let stored = || fs::read_to_string(token_file).ok();
        let token = var("HF_TOKEN").or_else(stored).map(|token| token.trim().to_owned());
        let token = token.filter(|token| !token.is_empty());
        Ok(Self { endpoint, offline, cache, token })
    }

    /// Returns the URL of a file of a model.
    pub fn address(&self, model: &Model, file: &str) -> Result<Url> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("HF_ENDPOINT names no server"))?
            .pop_if_empty()
            .extend(model.repository.split('/'))
            .extend(["resolve", model.revision, file]);
        Ok(url)
    }

    /// A request with the user's token, if it goes to the hub.
    pub fn with_token(&self, request: Request) -> Request {
        match &self.token {
            Some(token)
                if request.url.origin() == self.endpoint.origin() && !request.has_credentials() =>
            {
                request.with("Authorization", format!("Bearer {token}"))
            }
            _ => request,
        }
    }

    /// Size and checksum of a file. The hub says them itself, before it sends one
    /// on to where large files are.
    pub fn listing(&self, client: &Client, address: &Url) -> Result<Listing> {
        let request = Request { head_only: true, ..Request::get(address.clone()) };
        // Without this, the sizes are compressed ones.
        let mut request = self.with_token(request).with("Accept-Encoding", "identity");
        for _ in 0..=MOST_REDIRECTS {
            let response = client.send(&request).map_err(|error| match &self.token {
                None if error.to_string().contains(&StatusCode::UNAUTHORIZED.to_string()) => {
                    error.context("the hub wants to know who asks: set HF_TOKEN")
                }
                _ => error,
            })?;
            let etag = header(&response, "X-Linked-Etag").or_else(|| header(&response, "ETag"));
            let sum =
                etag.and_then(|tag| Sum::parse(tag.trim_start_matches("W/").trim_matches('"')));
            let is_redirect = response.status().is_redirection();
            let number = |name| header(&response, name).and_then(|value| value.parse().ok());
            let size = number("X-Linked-Size")
                .or_else(|| number("Content-Length").filter(|_| !is_redirect));
            if sum.is_some() || !is_redirect {
                return Ok(Listing { size, sum });
            }
            request = request.redirected(&response)?;
        }
        bail!("{} redirects without end", address::shown(address))
    }

    /// A file of a model in the cache, at the pinned revision.
    pub fn cached(&self, model: &Model, file: &str) -> Option<Cached> {
        let repositories = [model.repository, model.name];
        repositories.iter().find_map(|repository| {
            let folder = self.cache.join(format!("models--{}", repository.replace('/', "--")));
            let path = folder.join("snapshots").join(model.revision).join(file);
            if !path.is_file() {
                return None;
            }
            // A link to a file that is named after its checksum.
            let name = fs::read_link(&path)
                .ok()
                .and_then(|to| to.file_name()?.to_str().map(str::to_owned));
            Some(Cached { path, sum: name.and_then(|name| Sum::parse(&name)) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_the_hub_only() {
        let hub = Hub {
            endpoint: "https://hub.example/mirror".parse().unwrap(),
            offline: false,
            cache: PathBuf::new(),
            token: Some("token".to_owned()),
        };
        let headers = |url: &str| hub.with_token(Request::get(url.parse().unwrap())).headers;
        assert_eq!(
            headers("https://hub.example/a"),
            [("Authorization", "Bearer token".to_owned())]
        );
        for other in ["http://hub.example/a", "https://hub.example:1/a", "https://example/a"] {
            assert!(headers(other).is_empty(), "{other}");
        }
    }
}
