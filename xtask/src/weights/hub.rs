//! The Hugging Face hub, and its cache on this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Error, Result, anyhow, bail};
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

use super::source::Source;
use crate::net::{
    Client, Expected, Failure, MOST_REDIRECTS, Refusal, Request, Response, Sum, address, header,
    of_network, retry,
};

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

/// A file in the root of a repository.
#[derive(Clone, Debug)]
pub struct File {
    pub name: String,
    pub expected: Expected,
}

/// The files of a repository at one commit.
#[derive(Debug)]
pub struct Snapshot {
    pub commit: String,
    pub files: Vec<File>,
    /// Directory in which the cache notes which files the repository does not have, for a snapshot
    /// of the cache, which may have only some of the files.
    pub absent: Option<PathBuf>,
}

/// Answer of the hub about a revision.
#[derive(Deserialize)]
struct Revision {
    sha: String,
}

/// A file or a directory in the hub's listing of a repository.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    /// Git's name of the content; of the pointer for a file in large-file storage.
    oid: Option<String>,
    size: Option<u64>,
    lfs: Option<LargeFile>,
}

/// A file in large-file storage.
#[derive(Deserialize)]
struct LargeFile {
    /// SHA-256.
    oid: String,
    size: Option<u64>,
}

/// Pages of a listing that are read, of about a thousand files each.
const MOST_PAGES: usize = 100;
/// Bytes of an answer about a repository.
const MOST_ANSWER: u64 = 32 << 20;

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

    /// Returns the URL of a file of a repository.
    pub fn address(&self, source: &Source, file: &str) -> Result<Url> {
        self.url(&[], source, &["resolve", &source.revision, file])
    }

    fn url(&self, before: &[&str], source: &Source, after: &[&str]) -> Result<Url> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("HF_ENDPOINT names no server"))?
            .pop_if_empty()
            .extend(before)
            .extend(source.repository.split('/'))
            .extend(after);
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
            let response = client.send(&request)?;
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

    /// Lists the root of a repository at the commit that its revision has now.
    pub fn snapshot(&self, client: &Client, source: &Source) -> Result<Snapshot> {
        let url = self.url(&["api", "models"], source, &["revision", &source.revision])?;
        let explain = |error| self.explain(error, source);
        let Revision { sha: commit } = self.answer(client, url).map_err(explain)?.1;
        if !Source::is_commit(&commit) {
            bail!("{} does not answer with the commit of {source}", address::shown(&self.endpoint));
        }
        let tree = self.url(&["api", "models"], source, &["tree", &commit])?;
        let (mut files, mut page) = (Vec::new(), tree.clone());
        for _ in 0..MOST_PAGES {
            let (response, entries): (_, Vec<Entry>) =
                self.answer(client, page.clone()).map_err(explain)?;
            files.extend(entries.into_iter().filter_map(File::of_entry));
            let Some(next) = header(&response, "Link").and_then(next_page) else {
                return Ok(Snapshot { commit, files, absent: None });
            };
            // A mirror may repeat the hub's own address: only the position is taken from it.
            let next = page.join(next).with_context(|| format!("invalid listing of {source}"))?;
            page = tree.clone();
            page.set_query(next.query());
        }
        bail!("{source}: expected a listing of {MOST_PAGES} pages or fewer, got more")
    }

    /// Requests JSON of the hub's API. An answer that is cut off is requested again.
    fn answer<T: DeserializeOwned>(&self, client: &Client, url: Url) -> Result<(Response, T)> {
        let request = self.with_token(Request::get(url)).with("Accept", "application/json");
        let not_hub = || format!("{} does not answer as a hub", request.shown());
        retry(|| {
            let mut response = client.send_once(&request)?;
            let body = response.body_mut().with_config().limit(MOST_ANSWER).read_to_vec();
            let body = body.map_err(|error| match error {
                error @ ureq::Error::BodyExceedsLimit(_) => {
                    Failure::Final(Error::new(error).context(not_hub()))
                }
                error => of_network(error)
                    .context(format!("the connection to {} was cut", request.shown())),
            })?;
            let answer = serde_json::from_slice(&body).map_err(|error| {
                let is_cut = error.is_eof();
                let error = Error::new(error).context(not_hub());
                if is_cut { Failure::passing(error) } else { Failure::Final(error) }
            })?;
            Ok((response, answer))
        })
    }

    /// Adds the remedy to an error of a request about a repository.
    pub fn explain(&self, error: Error, source: &Source) -> Error {
        let page = format!("{}/{}", self.shown(), source.repository);
        let Some(remedy) = self.remedy(&error, source) else {
            return error.context(format!(
                "{page} cannot be read (HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy)"
            ));
        };
        error.context(remedy)
    }

    /// Returns the remedy for a repository or a revision that does not exist or may not be read.
    pub fn remedy(&self, error: &Error, source: &Source) -> Option<String> {
        let Refusal { status, code, .. } = error.downcast_ref()?;
        let Source { repository, revision, .. } = source;
        let page = format!("{}/{repository}", self.shown());
        let token = match self.token {
            Some(_) => "the access token (HF_TOKEN) may not read it",
            None => "set HF_TOKEN to an access token of an account that may read it",
        };
        Some(match (status.as_u16(), code.as_deref()) {
            (401 | 403, Some("GatedRepo")) => {
                format!("{repository} is gated: accept its conditions on {page}, and {token}")
            }
            // The hub does not tell strangers which private repositories exist.
            (401, _) => format!(
                "{repository} does not exist, is private or is gated: check the name, and {token}"
            ),
            // Gateways and mirrors refuse with this status, too.
            (403, _) => format!(
                "{repository} is private or gated, or a server on the way refuses: {token}, or set \
                 HF_ENDPOINT to another mirror"
            ),
            (404, Some("RevisionNotFound")) => format!(
                "{repository} has no revision {revision}: give a branch, a tag or a commit of {page}"
            ),
            (404, Some("RepoNotFound")) => {
                format!("{repository} does not exist on {}: check the name", self.shown())
            }
            (404, None) => format!(
                "{repository} does not exist on {}, or has no revision {revision}: check both",
                self.shown()
            ),
            _ => return None,
        })
    }

    /// Displays the endpoint without secrets and final slash.
    pub fn shown(&self) -> String {
        address::shown(&self.endpoint).trim_end_matches('/').to_owned()
    }

    /// A file of a repository in the cache, at the revision.
    pub fn cached(&self, source: &Source, file: &str) -> Option<Cached> {
        // The cache of models without an owner has their name alone.
        let name = source.repository.strip_prefix("openai-community/");
        [Some(source.repository.as_str()), name].into_iter().flatten().find_map(|repository| {
            let path = self.folder(repository).join("snapshots").join(&source.revision).join(file);
            Cached::find(path)
        })
    }

    fn folder(&self, repository: &str) -> PathBuf {
        self.cache.join(format!("models--{}", repository.replace('/', "--")))
    }

    /// Lists the files of a repository that are in the cache.
    pub fn cached_snapshot(&self, source: &Source) -> Result<Snapshot> {
        let folder = self.folder(&source.repository);
        let commit = if Source::is_commit(&source.revision) {
            Some(source.revision.clone())
        } else {
            let text = fs::read_to_string(folder.join("refs").join(&source.revision));
            text.ok().map(|text| text.trim().to_owned()).filter(|text| Source::is_commit(text))
        };
        let entries = commit
            .as_ref()
            .and_then(|commit| fs::read_dir(folder.join("snapshots").join(commit)).ok());
        let (Some(commit), Some(entries)) = (commit, entries) else {
            bail!(
                "{source} is not in the cache {}, and HF_HUB_OFFLINE or --offline forbids fetching it: \
                 fetch it once with the network",
                self.cache.display()
            );
        };
        let files = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let Cached { sum, .. } = Cached::find(entry.path())?;
            Some(File { name, expected: Expected { size: None, sum, most: None } })
        });
        let absent = Some(folder.join(".no_exist").join(&commit));
        Ok(Snapshot { files: files.collect(), absent, commit })
    }
}

impl Cached {
    fn find(path: PathBuf) -> Option<Self> {
        if !path.is_file() {
            return None;
        }
        // A link to a file that is named after its checksum.
        let name =
            fs::read_link(&path).ok().and_then(|to| to.file_name()?.to_str().map(str::to_owned));
        Some(Self { path, sum: name.and_then(|name| Sum::parse(&name)) })
    }
}

impl File {
    /// Takes a file of the hub's listing. Its name becomes a path here: others than plain names in
    /// the root are left out.
    fn of_entry(entry: Entry) -> Option<Self> {
        let Entry { kind, path: name, oid, size, lfs } = entry;
        if kind != "file" || !is_file_name(&name) {
            return None;
        }
        let (size, oid) = match lfs {
            Some(lfs) => (lfs.size.or(size), Some(lfs.oid)),
            None => (size, oid),
        };
        let sum = oid.and_then(|oid| Sum::parse(&oid));
        Some(Self { name, expected: Expected { size, sum, most: None } })
    }
}

/// Returns whether a name of the hub or of a record is a plain name in a directory.
pub fn is_file_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain)
}

/// Returns the target of the link to the next page (RFC 8288).
fn next_page(links: &str) -> Option<&str> {
    links.split('<').find_map(|link| {
        let (target, parameters) = link.split_once('>')?;
        let is_next = |parameter: &str| {
            let parameter = parameter.trim().trim_end_matches(',');
            matches!(parameter, "rel=\"next\"" | "rel=next")
        };
        parameters.split(';').any(is_next).then_some(target)
    })
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

    #[test]
    fn next_page_is_found_among_links() {
        for links in [
            "<https://hub/a?cursor=x>; rel=\"next\"",
            "<https://hub/first>; rel=\"first\", <https://hub/a?cursor=x>; rel=\"next\", <b>; rel=\"last\"",
            "<https://hub/a?cursor=x>; title=\"y\"; rel=next",
        ] {
            assert_eq!(next_page(links), Some("https://hub/a?cursor=x"), "{links}");
        }
        for links in ["", "<a>; rel=\"last\"", "a; rel=\"next\"", "<a"] {
            assert_eq!(next_page(links), None, "{links}");
        }
    }

    #[test]
    fn names_with_folders_are_left_out() {
        let entry = |kind: &str, path: &str| {
            let entry = serde_json::json!({"type": kind, "path": path, "oid": "x", "size": 1});
            File::of_entry(serde_json::from_value(entry).unwrap())
        };
        assert!(entry("file", "model-00001-of-00002.safetensors").is_some());
        for path in
            ["onnx/model.onnx", "../config.json", "..", ".gitattributes", "a\\b", "/etc", "a b"]
        {
            assert!(entry("file", path).is_none(), "{path}");
        }
        assert!(entry("directory", "onnx").is_none());
    }
}
