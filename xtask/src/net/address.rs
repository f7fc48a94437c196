//! URLs: validation, redirects, and display without secrets.

use anyhow::{Context, Result, bail};
use url::Url;

/// Reads an address that a user gave. `origin` is where it was given. An error
/// does not repeat the text: a password may be in it.
pub fn parse(text: &str, origin: &str) -> Result<Url> {
    let url: Url = text.parse().with_context(|| format!("{origin} is not a URL"))?;
    if !is_web(&url) {
        bail!("{origin} is a URL with {}: expected one with http or https", url.scheme());
    }
    Ok(url)
}

/// Returns whether requests may go to this URL.
pub fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// Displays a URL without user and password, and without the query, where signed URLs
/// keep their secrets.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Only a URL without a host refuses these, and it has no user to begin with.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    if url.query().is_some() {
        url.set_query(None);
        return format!("{url}?…");
    }
    url.to_string()
}

/// Returns the target of a redirect. Leaving HTTP or downgrading HTTPS is refused.
pub fn redirected(from: &Url, location: &str) -> Result<Url> {
    let to = from
        .join(location)
        .with_context(|| format!("{} redirects to an invalid URL", shown(from)))?;
    if !is_web(&to) || (from.scheme() == "https" && to.scheme() == "http") {
        bail!(
            "{} redirects from {} to {}: that is refused",
            shown(from),
            from.scheme(),
            to.scheme()
        );
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = url("https://me:hush@example.org/a?X-Amz-Signature=hush#hush");
        assert_eq!(shown(&secret), "https://example.org/a?…");
        assert_eq!(shown(&url("http://example.org/a")), "http://example.org/a");
        for text in ["http://me:hush@[", "ftp://me:hush@example.org"] {
            let error = format!("{:#}", parse(text, "--url").unwrap_err());
            assert!(error.starts_with("--url is") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn redirects_stay_on_the_web_and_encrypted() {
        let from = url("https://example.org/a/b");
        assert_eq!(redirected(&from, "../c").unwrap(), url("https://example.org/c"));
        assert_eq!(redirected(&from, "//cdn.example/d").unwrap(), url("https://cdn.example/d"));
        assert!(redirected(&url("http://example.org"), "https://example.org").is_ok());
        for bad in ["http://example.org/a/b", "file:///etc/passwd", "ftp://a/b", "https://["] {
            let error = redirected(&from, bad).unwrap_err().to_string();
            assert!(error.contains("https://example.org/a/b redirects"), "{error}");
        }
    }
}
