//! HTTP requests with proxies (`HTTPS_PROXY`), the system's certificates and redirects.

use std::{
    error::Error,
    fmt,
    time::{Duration, SystemTime},
};

use anyhow::{Result, anyhow};
use base64::{Engine, prelude::BASE64_STANDARD};
use ureq::{
    Agent, Body,
    http::{self, StatusCode},
    tls::{RootCerts, TlsConfig},
};
use url::Url;

use super::{
    address,
    retry::{Failure, of_network, retry},
};

/// Connection timeout.
const CONNECT: Duration = Duration::from_secs(20);
/// Timeout of a server that sends nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// Redirects that are followed.
pub const MOST_REDIRECTS: usize = 10;

/// Response of a server.
pub type Response = http::Response<Body>;

/// Response that is neither a success nor a redirect.
#[derive(Debug)]
pub struct Refusal {
    url: String,
    /// Status.
    pub status: StatusCode,
    /// The hub's own name of the problem (`X-Error-Code`).
    pub code: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers {}", self.url, self.status)
    }
}

impl Error for Refusal {}

/// A request without a body.
#[derive(Clone)]
pub struct Request {
    /// Target without user and password.
    pub url: Url,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// Requests the headers only, and does not follow redirects.
    pub head_only: bool,
}

impl Request {
    /// A request for all of a file. A user and password in the URL are taken out
    /// of it and sent as they should be.
    pub fn get(mut url: Url) -> Self {
        let mut headers = Vec::new();
        if !url.username().is_empty() || url.password().is_some() {
            let pair = format!("{}:{}", url.username(), url.password().unwrap_or_default());
            headers.push(("Authorization", format!("Basic {}", BASE64_STANDARD.encode(pair))));
            // Only a URL without a host refuses this, and it had none to begin with.
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        Self { url, headers, head_only: false }
    }

    /// The same with one more header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Displays the target without secrets.
    pub fn shown(&self) -> String {
        address::shown(&self.url)
    }

    /// Returns whether the request has credentials.
    pub fn has_credentials(&self) -> bool {
        self.headers.iter().any(|(name, _)| *name == "Authorization")
    }

    /// Returns the request that a response redirects to. Credentials do not go to another
    /// server.
    pub fn redirected(&self, response: &Response) -> Result<Self> {
        let location = header(response, "Location")
            .ok_or_else(|| anyhow!("{} redirects to nowhere (no Location)", self.shown()))?;
        let next = Self::get(address::redirected(&self.url, location)?);
        let mut headers = self.headers.clone();
        if next.has_credentials() || next.url.origin() != self.url.origin() {
            headers.retain(|(name, _)| *name != "Authorization");
        }
        headers.extend(next.headers);
        Ok(Self { url: next.url, headers, head_only: self.head_only })
    }
}

/// Sends requests.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
}

impl Client {
    pub fn new() -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .http_status_as_error(false)
            // They are followed here: where they may lead is not for a library to say.
            .max_redirects(0)
            // The certificates of the system include the company proxy's.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent(concat!("gpt2-lora-xtask/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into() }
    }

    /// Sends a request, again and again if the failure is one that may pass.
    pub fn send(&self, request: &Request) -> Result<Response> {
        retry(|| self.send_once(request))
    }

    /// Sends a request. Responses without success are failures; redirects are followed,
    /// except by a request for headers only.
    pub fn send_once(&self, request: &Request) -> Result<Response, Failure> {
        let mut next = request.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.ask(&next)?;
            let status = response.status();
            let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if is_redirect && !request.head_only {
                next = next.redirected(&response)?;
                continue;
            }
            // That a file has no such part is for the caller to make sense of.
            if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE || is_redirect {
                return Ok(response);
            }
            let code = header(&response, "X-Error-Code").map(str::to_owned);
            let error = Refusal { url: next.shown(), status, code }.into();
            return Err(match status.as_u16() {
                408 | 425 | 429 | 500 | 502 | 503 | 504 => {
                    Failure::Passing { error, wait: retry_after(&response), progress: false }
                }
                _ => Failure::Final(error),
            });
        }
        Err(Failure::Final(anyhow!("{} redirects without end", request.shown())))
    }

    /// Sends a request and takes what comes, be it a redirect.
    fn ask(&self, request: &Request) -> Result<Response, Failure> {
        if !address::is_web(&request.url) {
            let error = anyhow!("{} is not an HTTP or HTTPS URL", request.shown());
            return Err(Failure::Final(error));
        }
        let url = request.url.as_str();
        let mut builder =
            if request.head_only { self.agent.head(url) } else { self.agent.get(url) };
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        builder.call().map_err(|error| {
            of_network(error).context(format!("no answer from {}", request.shown()))
        })
    }
}

/// A header as text.
pub fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// The pause that a server asks for, in seconds or until a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = header(response, "Retry-After")?.trim();
    let until_date = || {
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    };
    value.parse().ok().map(Duration::from_secs).or_else(until_date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_removed_from_the_url() {
        let request = Request::get("https://me:secret@example.org/simple".parse().unwrap());
        assert_eq!(request.url.as_str(), "https://example.org/simple");
        assert_eq!(request.headers, [("Authorization", "Basic bWU6c2VjcmV0".to_owned())]);
    }

    #[test]
    fn file_urls_are_refused() {
        let request = Request::get("file:///etc/passwd".parse().unwrap());
        let Err(Failure::Final(error)) = Client::new().send_once(&request) else {
            panic!("it was sent");
        };
        assert!(error.to_string().contains("not an HTTP or HTTPS URL"), "{error}");
    }
}
