//! Address of a file on the Python package index or on a mirror of it.

use std::env;

use anyhow::{Context, Result, anyhow};
use url::Url;

use crate::net::{Client, Request, address};

const PYPI: &str = "https://pypi.org/simple";

/// Package index with the "simple" pages that every mirror serves (PEP 503).
pub struct Index {
    client: Client,
    url: Url,
}

impl Index {
    /// Takes the index of the option, else of `PIP_INDEX_URL`, else PyPI.
    pub fn new(option: Option<&str>) -> Result<Self> {
        let variable = env::var("PIP_INDEX_URL").ok().filter(|url| !url.is_empty());
        let (text, origin) = match (option, &variable) {
            (Some(url), _) => (url, "--index-url"),
            (None, Some(url)) => (url.as_str(), "PIP_INDEX_URL"),
            (None, None) => (PYPI, "the default"),
        };
        let url = address::parse(text, &format!("the package index of {origin}"))?;
        Ok(Self { client: Client::new(), url })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Finds a file on the page of its project. Returns a request for it, with the user
    /// and password of the index if the file is on the same server.
    pub fn request(&self, project: &str, file: &str) -> Result<Request> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{project}/", url.path().trim_end_matches('/')));
        let page = Request::get(url.clone()).with("Accept", "text/html");
        let hint = || {
            format!(
                "the package index does not answer for {project}: check the connection, or name \
                 another index with --index-url or PIP_INDEX_URL, a proxy with HTTPS_PROXY"
            )
        };
        let mut response = self.client.send(&page).with_context(hint)?;
        // Pages of projects with many files have megabytes.
        let body = response.body_mut().with_config().limit(100 << 20).read_to_string();
        let link = link_to(&body.with_context(hint)?, &url, file).ok_or_else(|| {
            anyhow!(
                "{} has no {file}: give another index with --index-url",
                address::shown(&self.url)
            )
        })?;
        let request = Request::get(link);
        let index = Request::get(self.url.clone());
        let is_same_server = index.url.origin() == request.url.origin();
        let is_public = request.headers.is_empty();
        Ok(if is_same_server && is_public {
            Request { headers: index.headers, ..request }
        } else {
            request
        })
    }
}

/// The link of a page whose path ends in the name of the file.
fn link_to(page: &str, base: &Url, file: &str) -> Option<Url> {
    page.split("href=").skip(1).find_map(|rest| {
        let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c))?;
        let link = rest[1..].split(quote).next()?.replace("&amp;", "&");
        let mut url = base.join(&link).ok()?;
        url.set_fragment(None);
        (url.path_segments()?.next_back()? == file).then_some(url)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> Url {
        "https://me:hush@index.example/simple/a/".parse().unwrap()
    }

    #[test]
    fn link_is_found_by_the_exact_file_name() {
        let page = r#"<html><body><h1>Links for a</h1>
            <a href="../../a-1.whl.metadata">a-1.whl</a><br/>
            <a href="../../a-1.whl#sha256=ab" data-requires-python="&gt;=3">a-1.whl</a><br/>
            <a href='https://files.example/x/a-2.whl?one=1&amp;two=2'>a-2.whl</a>
            </body></html>"#;
        let link = |file| link_to(page, &base(), file).map(|url| url.to_string());
        assert_eq!(link("a-1.whl").as_deref(), Some("https://me:hush@index.example/a-1.whl"));
        assert_eq!(link("a-2.whl").as_deref(), Some("https://files.example/x/a-2.whl?one=1&two=2"));
        assert_eq!(link("a-3.whl"), None);
    }

    #[test]
    fn index_must_be_an_http_url() {
        assert!(Index::new(Some("mirror")).is_err());
        assert!(Index::new(Some("file:///tmp")).is_err());
        assert!(Index::new(Some("http://127.0.0.1:1/simple")).is_ok());
    }

    proptest! {
        #[test]
        fn any_page_is_read_without_a_panic(page: String, link: String) {
            let quoted = format!("<a href=\"{link}\">a-1.whl</a>");
            for page in [page, quoted, format!("href={link}")] {
                if let Some(url) = link_to(&page, &base(), "a-1.whl") {
                    prop_assert!(url.path().ends_with("a-1.whl"), "{url}");
                }
            }
        }
    }
}
