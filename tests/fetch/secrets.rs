//! Passwords and tokens are sent to their server only and never printed.

use test_support::{Finished, Reply, Request, Server};

use crate::cases::{Case, files_below, sha256, weights};

/// Signed URLs of file stores.
const SIGNED: &str = "?X-Amz-Credential=hush&X-Amz-Signature=hush&sig=hush";

/// Asserts that no output and no file contains a secret.
#[track_caller]
fn assert_no_secret(case: &Case, finished: &Finished) {
    let output = finished.stdout() + &finished.stderr();
    // "me:hush" in base64, too.
    for secret in ["hush", "bWU6aHVzaA"] {
        assert!(!output.contains(secret), "{output}");
        for (path, bytes) in files_below(case.root.path()) {
            let is_there = bytes.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
            assert!(!is_there, "{}", path.display());
        }
    }
}

/// The downloads with all kinds of secrets.
fn with_secrets() -> [Case; 4] {
    let mut all = Case::all();
    let secret = |url: &str| url.replace("http://", "http://me:hush@");
    for case in &mut all {
        for (_, value) in &mut case.environment {
            *value = secret(value);
        }
        for argument in &mut case.arguments {
            if argument.starts_with("http://") {
                *argument = secret(argument) + SIGNED;
            }
        }
        case.environment.push(("HF_TOKEN".to_owned(), "hush".to_owned()));
        // All that a program may be told to say.
        case.environment.push(("RUST_LOG".to_owned(), "trace".to_owned()));
        case.environment.push(("RUST_BACKTRACE".to_owned(), "full".to_owned()));
    }
    all
}

type Fault = fn(&[u8], &Request) -> Reply;

#[test]
fn no_secret_is_printed_on_any_failure() {
    let faults: [(&str, Fault); 9] = [
        ("", |content, request| Reply::file(content, request)),
        ("answers 404", |_, _| Reply::status(404)),
        ("answers 403", |_, _| Reply::status(403)),
        ("that is refused", |_, _| {
            Reply::status(302).with("Location", format!("ftp://me:hush@x/{SIGNED}"))
        }),
        ("redirects to an invalid URL", |_, _| {
            Reply::status(302).with("Location", format!("http://me:hush@[{SIGNED}"))
        }),
        ("no answer from", |_, _| {
            Reply::status(302).with("Location", format!("http://me:hush@127.0.0.1:1/{SIGNED}"))
        }),
        ("is not the published file", |_, request| Reply::file(b"another", request)),
        ("sends more than", |content, request| Reply::file(content, request).endless()),
        ("packed", |content, request| Reply::file(content, request).with("Content-Encoding", "br")),
    ];
    std::thread::scope(|scope| {
        // At once, because most of the time they wait for their next attempt.
        for (word, fault) in faults {
            for case in with_secrets() {
                scope.spawn(move || {
                    for _ in 0..5 {
                        case.fault(fault);
                    }
                    let finished = case.run();
                    assert_no_secret(&case, &finished);
                    match word {
                        "" => drop(finished.succeeded()),
                        word => drop(finished.failed(&[word])),
                    }
                });
            }
        }
    });
    for case in with_secrets() {
        // Retries are reported, too.
        case.fault(|_, _| Reply::status(503).with("Retry-After", "0"));
        case.fault(|content, request| Reply::file(content, request).cut_after(9000));
        let signed = format!("{}{SIGNED}", case.main);
        case.fault(move |_, _| Reply::status(302).with("Location", signed.clone()));
        let finished = case.run();
        assert!(finished.stderr().contains("trying again"));
        assert_no_secret(&case, &finished);
    }
}

#[test]
fn no_secret_of_an_invalid_url_is_printed() {
    let secrets = ["http://me:hush@[", "ftp://me:hush@x/?sig=hush", "me:hush"];
    for secret in secrets {
        for mut case in Case::all() {
            for (_, value) in &mut case.environment {
                *value = secret.to_owned();
            }
            for argument in &mut case.arguments {
                if argument.starts_with("http://") {
                    *argument = secret.to_owned();
                }
            }
            assert_no_secret(&case, &case.run().failed(&["is "]));
            case.is_absent();
        }
    }
    let proxies = ["http://me:hush@127.0.0.1:1", "nonsense://me:hush@x", "http://me:hush@[x"];
    std::thread::scope(|scope| {
        for proxy in proxies {
            for mut case in Case::all() {
                scope.spawn(move || {
                    case.environment.push(("HTTP_PROXY".to_owned(), proxy.to_owned()));
                    assert_no_secret(&case, &case.run());
                });
            }
        }
    });
    // A proxy that wants another password.
    for mut case in Case::all() {
        let proxy = Server::start(|_| Reply::status(407));
        let url = proxy.url("").replace("http://", "http://me:hush@");
        case.environment.push(("HTTP_PROXY".to_owned(), url));
        assert_no_secret(&case, &case.run());
    }
    let mut case = weights();
    case.environment[0].1 = case.environment[0].1.replace("http://", "http://me:hush@");
    case.arguments.push("--dry-run".to_owned());
    assert_no_secret(&case, &case.run().succeeded());
}

#[test]
fn no_secret_goes_to_another_server() {
    for case in with_secrets() {
        let content = case.server.clone();
        let other = Server::start(|_| Reply::status(404));
        let away = other.url("/stored");
        case.fault(move |_, _| Reply::status(302).with("Location", away.clone()));
        case.run().failed(&["answers 404"]);
        assert_eq!(other.seen().len(), 1);
        for request in other.seen() {
            let text = format!("{request:?}");
            assert!(!text.contains("hush") && !text.contains("bWU6aHVzaA"), "{text}");
        }
        // To its own server, on the other hand, it goes after a redirect too.
        let path = format!("/moved{}", case.main);
        let to = path.clone();
        case.fault(move |_, _| Reply::status(302).with("Location", to.clone()));
        case.run().succeeded();
        let moved = content.seen().into_iter().find(|request| request.path == path).unwrap();
        assert!(moved.headers.contains_key("authorization"), "{moved:?}");
    }
}

#[test]
fn a_token_is_one_header() {
    let content = weights().content;
    let hub = Server::start(move |request| match request.path.ends_with("config.json") {
        true => Reply::file(br#"{"n_embd": 1024, "n_layer": 24, "n_head": 16}"#, request),
        false => Reply::file(&content, request).with("ETag", sha256(&content)),
    });
    let mut case = weights();
    let endpoint = hub.url("").replace("http://", "http://me:hush@");
    case.environment =
        vec![("HF_ENDPOINT".to_owned(), endpoint), ("HF_TOKEN".to_owned(), "token".to_owned())];
    case.run().succeeded();
    for request in hub.seen() {
        assert_eq!(request.headers["authorization"], "Basic bWU6aHVzaA==");
    }
}
