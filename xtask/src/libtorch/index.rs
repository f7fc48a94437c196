//! A package index: PyPI or a mirror, by the "simple" interface that pip uses,
//! as JSON (PEP 691) or, where a mirror knows only that, as HTML (PEP 503).

use anyhow::{Context, Result, anyhow};
use regex::Regex;
use serde::Deserialize;
use url::Url;

use crate::net::{Client, Request, Sum, address};

const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// A file of a project.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexFile {
    pub filename: String,
    pub url: Url,
    /// SHA-256, if that is what is given.
    pub sha256: Option<String>,
    pub size: Option<u64>,
    /// Withdrawn by its makers.
    pub yanked: bool,
}

/// A package index.
pub struct Index {
    client: Client,
    url: Url,
}

impl Index {
    pub fn new(client: Client, url: Url) -> Self {
        Self { client, url }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The index as it can be said to people: without a password.
    pub fn shown(&self) -> String {
        address::shown(&self.url)
    }

    /// A request for a file, with the index's own user and password if the file
    /// is on the same server.
    pub fn authorised(&self, request: Request) -> Request {
        let own = Request::get(self.url.clone());
        let same = own.url.origin() == request.url.origin() && request.headers.is_empty();
        if same { Request { headers: own.headers, ..request } } else { request }
    }

    /// All files of a project.
    pub fn files(&self, project: &str) -> Result<Vec<IndexFile>> {
        let mut url = self.url.clone();
        let path = format!("{}/{project}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let accept = format!("{JSON}, text/html;q=0.5");
        let request = Request::get(url.clone()).with("Accept", accept);
        let hint = || {
            format!(
                "the package index does not answer for {project}: check the connection, or name \
                 another index with --index-url or PIP_INDEX_URL, a proxy with HTTPS_PROXY"
            )
        };
        let mut response = self.client.send(&request).with_context(hint)?;
        let is_json = response.body().mime_type().is_some_and(|mime| mime.ends_with("json"));
        // The pages of projects with many files are megabytes.
        let body = response.body_mut().with_config().limit(100 << 20).read_to_string();
        let body = body.with_context(hint)?;
        let files = if is_json { from_json(&body, &url) } else { from_html(&body, &url) };
        files.with_context(|| format!("{} is no page of a package index", request.shown()))
    }
}

#[derive(Deserialize)]
struct Page {
    files: Vec<PageFile>,
}

#[derive(Deserialize)]
struct PageFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: Hashes,
    size: Option<u64>,
    #[serde(default)]
    yanked: serde_json::Value,
}

#[derive(Default, Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

/// A SHA-256. Something else would check nothing.
fn sha256(text: &str) -> Option<String> {
    match Sum::parse(text)? {
        Sum::Sha256(digits) => Some(digits),
        Sum::GitBlob(_) => None,
    }
}

pub(super) fn from_json(text: &str, base: &Url) -> Result<Vec<IndexFile>> {
    let page: Page = serde_json::from_str(text)?;
    let file = |file: PageFile| {
        Ok(IndexFile {
            url: base.join(&file.url)?,
            filename: file.filename,
            sha256: file.hashes.sha256.and_then(|sum| sha256(&sum)),
            size: file.size,
            // `false`, or `true`, or the reason.
            yanked: !matches!(
                file.yanked,
                serde_json::Value::Null | serde_json::Value::Bool(false)
            ),
        })
    };
    page.files.into_iter().map(file).collect()
}

pub(super) fn from_html(text: &str, base: &Url) -> Result<Vec<IndexFile>> {
    let anchor = Regex::new(r"(?is)<a\s([^>]*)>([^<]*)</a>")?;
    let href = Regex::new(r#"(?i)\bhref\s*=\s*["']([^"']*)["']"#)?;
    let files = anchor.captures_iter(text).filter_map(|link| {
        let (attributes, filename) = (&link[1], link[2].trim().to_owned());
        let address = href.captures(attributes)?[1].replace("&amp;", "&");
        Some((attributes.contains("data-yanked"), filename, address))
    });
    let file = |(yanked, filename, address): (bool, String, String)| {
        let mut url = base.join(&address)?;
        let sha256 = url.fragment().and_then(|sum| sum.strip_prefix("sha256="));
        let sha256 = sha256.and_then(self::sha256);
        url.set_fragment(None);
        Ok(IndexFile { filename, url, sha256, size: None, yanked })
    };
    let files: Vec<IndexFile> = files.map(file).collect::<Result<_>>()?;
    if files.is_empty() {
        return Err(anyhow!("it links no file"));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(size: Option<u64>) -> Vec<IndexFile> {
        let file = |name: &str, sha256: Option<String>, yanked| IndexFile {
            filename: format!("{name}.whl"),
            url: format!("https://files.example/{name}.whl").parse().unwrap(),
            sha256,
            size,
            yanked,
        };
        vec![file("a-1", Some("ab".repeat(32)), false), file("a-2", None, true)]
    }

    #[test]
    fn both_forms_say_the_same() {
        let base = "https://files.example/simple/a/".parse().unwrap();
        let sum = "ab".repeat(32);
        let json = r#"{"meta": {}, "files": [
            {"filename": "a-1.whl", "url": "../../a-1.whl", "hashes": {"sha256": "SUM"}, "size": 5},
            {"filename": "a-2.whl", "url": "https://files.example/a-2.whl", "size": 5,
             "hashes": {}, "yanked": "broken"}]}"#;
        assert_eq!(from_json(&json.replace("SUM", &sum), &base).unwrap(), expected(Some(5)));
        let html = r#"<html><body>
            <a href="../../a-1.whl#sha256=SUM" data-requires-python="&gt;=3">a-1.whl</a><br/>
            <A data-yanked="broken" HREF='https://files.example/a-2.whl'> a-2.whl </A>
            </body></html>"#;
        assert_eq!(from_html(&html.replace("SUM", &sum), &base).unwrap(), expected(None));
        assert!(from_html("<html>Welcome!</html>", &base).is_err());
        assert!(from_json("{}", &base).is_err());
    }

    #[test]
    fn what_is_no_sha256_is_none() {
        for sum in ["", "ab", &"g".repeat(64), &"a".repeat(40)] {
            assert_eq!(sha256(sum), None);
        }
        assert_eq!(sha256(&"A".repeat(64)), Some("a".repeat(64)));
    }

    #[test]
    fn a_password_goes_to_the_server_of_the_index_only() {
        let index = Index::new(Client::new(), "https://me:x@index.example/simple".parse().unwrap());
        assert_eq!(index.shown(), "https://index.example/simple");
        let headers = |url: &str| index.authorised(Request::get(url.parse().unwrap())).headers;
        assert_eq!(headers("https://index.example/files/a.whl").len(), 1);
        assert!(headers("https://files.example/a.whl").is_empty());
    }
}
