//! Misbehaving servers, and full disks.

use std::{fs, process::Command};

use test_support::{Reply, Server};

use crate::cases::{Case, MEDIUM, TORCH, checkpoint, libtorch, noise, sha256, weights};

#[test]
fn wrong_range_is_refused() {
    for case in Case::all() {
        let cut_off = || {
            case.fault(|content, request| Reply::file(content, request).cut_after(20_000));
        };
        let answers_from = |start: usize| {
            case.fault(move |content, request| {
                let mut other = request.clone();
                assert!(
                    other.headers.insert("range".to_owned(), format!("bytes={start}-")).is_some()
                );
                Reply::file(content, &other)
            });
        };
        // All of it, called a part: that will do.
        cut_off();
        answers_from(0);
        case.run().succeeded();
        case.is_complete();
        fs::remove_dir_all(case.root.path()).unwrap();
        fs::create_dir(case.root.path()).unwrap();
        cut_off();
        answers_from(10_000);
        case.run().failed(&["is not the published file"]);
        case.is_absent();
        case.run().succeeded();
        case.is_complete();
    }
}

#[test]
fn bytes_after_the_declared_length_are_ignored() {
    for case in Case::all() {
        case.fault(|content, request| Reply::file(content, request).with_surplus(1000));
        case.run().succeeded();
        case.is_complete();
    }
}

#[test]
fn endless_file_is_refused() {
    for case in Case::all() {
        case.fault(|content, request| Reply::file(content, request).endless());
        case.run().failed(&["not the published file", "sends more than"]);
        case.is_absent();
        assert!(!case.path(&case.part).exists());
        case.run().succeeded();
        case.is_complete();
    }
}

#[test]
fn early_end_is_not_taken_as_complete() {
    for case in Case::all() {
        case.fault(|content, request| {
            Reply::file(content, request).cut_after(9000).without_length()
        });
        if case.result.ends_with("SMSSpamCollection") {
            // Nobody knows how long the archive is, only its checksum.
            case.run().failed(&["is not the published file", "checksum"]);
            case.is_absent();
        }
        case.run().succeeded();
        case.is_complete();
    }
}

#[test]
fn error_page_is_refused() {
    for case in Case::all() {
        case.fault(|_, request| {
            Reply::file(b"<html><a href='/login'>Log in</a>", request)
                .with("Content-Type", "text/html")
        });
        case.run().failed(&["is not the published file"]);
        case.is_absent();
        case.run().succeeded();
        case.is_complete();
    }
}

#[test]
fn compressed_response_is_refused() {
    for case in Case::all() {
        case.fault(|content, request| {
            Reply::file(content, request).with("Content-Encoding", "gzip")
        });
        case.run().failed(&["sends the file packed (gzip)"]);
        case.is_absent();
        assert!(!case.path(&case.part).exists());
        case.run().succeeded();
        case.is_complete();
    }
}

#[test]
fn redirects_end_and_stay_on_the_web() {
    for case in Case::all() {
        for _ in 0..20 {
            let path = case.main.clone();
            case.fault(move |_, _| Reply::status(302).with("Location", path.clone()));
        }
        case.run().failed(&["redirects without end"]);
        assert_eq!(case.seen().len(), 11);
        case.is_absent();
        for bad in ["file:///etc/passwd", "ftp://example.org/x", "gopher:x"] {
            case.faults.lock().unwrap().clear();
            case.fault(move |_, _| Reply::status(302).with("Location", bad));
            case.run().failed(&["redirects from http to", "that is refused"]);
            case.is_absent();
        }
        case.fault(|_, _| Reply::status(302));
        case.run().failed(&["redirects to nowhere"]);
        case.is_absent();
    }
    // The question for the headers alone as well.
    for to in ["/again", "file:///etc/passwd"] {
        let hub = Server::start(move |_| Reply::status(302).with("Location", to));
        let mut case = weights();
        case.environment = vec![("HF_ENDPOINT".to_owned(), hub.url(""))];
        case.run().failed(&["redirects"]);
        assert!(hub.seen().len() <= 11);
        case.is_absent();
    }
}

#[test]
fn retries_end_without_progress() {
    std::thread::scope(|scope| {
        for case in Case::all() {
            scope.spawn(move || {
                for _ in 0..20 {
                    case.fault(|content, request| {
                        let mut whole = request.clone();
                        whole.headers.remove("range");
                        Reply::file(content, &whole).cut_after(20_000)
                    });
                }
                case.run().failed(&["5 attempts", "was cut"]);
                assert_eq!(case.seen().len(), 5);
                case.is_absent();
            });
        }
    });
}

#[test]
fn full_disk_is_reported() {
    for case in Case::all() {
        case.run_on_full_disk(20).failed(&["cannot write", ".part: File too large"]);
        case.is_absent();
        case.run().succeeded();
        case.is_complete();
    }
}

#[test]
fn pages_of_an_index_are_not_trusted() {
    let genuine = libtorch();
    let other = Server::start(|request| Reply::file(b"another wheel", request));
    let link = |url: &str| format!("<html><a href=\"{url}\">{TORCH}</a>");
    let good = genuine.server.url(&genuine.main);
    let no_link = format!("has no {TORCH}");
    let pages = [
        (link(&other.url(&genuine.main)), "is not the published file"),
        (link(&good.replace("cp312", "cp313")), &no_link),
        (link(&format!("{good}/../../evil.whl")), &no_link),
        (link(&format!("file:///etc/{TORCH}")), "not an HTTP or HTTPS URL"),
        (link(&format!("http://[/{TORCH}")), &no_link),
        (link(""), &no_link),
        ("<html>We are sorry".to_owned(), &no_link),
    ];
    for (page, word) in pages {
        let index = Server::start(move |request| {
            Reply::file(page.as_bytes(), request).with("Content-Type", "text/html")
        });
        let mut case = libtorch();
        case.environment = vec![("PIP_INDEX_URL".to_owned(), index.url("/simple"))];
        case.run().failed(&[word]);
        case.is_absent();
    }
    let index = Server::start(|request| Reply::file(&[b' '; 1 << 16], request).endless());
    let mut case = libtorch();
    case.environment = vec![("PIP_INDEX_URL".to_owned(), index.url("/simple"))];
    case.run().failed(&["does not answer for torch", "larger than request limit"]);
}

#[test]
fn config_without_a_checksum_is_validated() {
    let content = noise(1000);
    let start = |config: &'static [u8], checked: bool| {
        let content = content.clone();
        let hub = Server::start(move |request| match request.path.ends_with("config.json") {
            true if checked => Reply::file(config, request).with("ETag", sha256(config)),
            true => Reply::file(config, request),
            false => Reply::file(&content, request).with("ETag", sha256(&content)),
        });
        let mut case = weights();
        case.environment = vec![("HF_ENDPOINT".to_owned(), hub.url(""))];
        (case, hub)
    };
    let name = "weights/gpt2-medium/config.json";
    let (case, _hub) = start(b"{\"n_embd\": 768}", false);
    // A file that is there is not lost to one that does not fit.
    fs::create_dir_all(case.path("weights/gpt2-medium")).unwrap();
    fs::write(case.path(name), "mine").unwrap();
    let mut forced = case;
    forced.arguments.push("--force".to_owned());
    forced.run().failed(&["n_embd is 768, expected 1024"]);
    assert_eq!(fs::read(forced.path(name)).unwrap(), b"mine");
    // What an earlier fetch left is not gone on from, as nothing would tell.
    let config = br#"{"n_embd": 1024, "n_layer": 24, "n_head": 16}"#;
    let (case, hub) = start(config, false);
    fs::create_dir_all(case.path("weights/gpt2-medium")).unwrap();
    fs::write(case.path(&format!("{name}.part")), "{\"of another\": 1").unwrap();
    let finished = case.run().succeeded();
    assert!(finished.stderr().contains("gives no checksum"), "{}", finished.stderr());
    assert_eq!(fs::read(case.path(name)).unwrap(), config);
    assert!(hub.seen().iter().all(|request| !request.headers.contains_key("range")));
}

#[test]
fn changed_files_are_noticed() {
    let change = |case: &Case, file: &str| {
        let mut bytes = fs::read(case.path(file)).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(case.path(file), bytes).unwrap();
    };
    for (case, files) in [
        (weights(), ["weights/gpt2-medium/model.safetensors", "weights/gpt2-medium/config.json"]),
        (checkpoint(), ["weights/me--small/model.safetensors", "weights/me--small/config.json"]),
        (libtorch(), ["libtorch/lib/libc10.so", "libtorch/include/torch/torch.h"]),
    ] {
        for file in files {
            case.run().succeeded();
            change(&case, file);
            case.run().failed(&[file, "has changed since it was fetched", "--force"]);
            let mut forced = case.command();
            assert!(forced.arg("--force").output().unwrap().status.success());
        }
        // An independent program agrees.
        let folder = case.path(
            files[0].trim_end_matches("/model.safetensors").trim_end_matches("/lib/libc10.so"),
        );
        let sums = |folder| {
            let mut program = Command::new("sha256sum");
            program.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(folder);
            program.output().unwrap().status.success()
        };
        assert!(sums(&folder));
        change(&case, files[0]);
        assert!(!sums(&folder));
        let requests = case.server.seen();
        assert!(requests.iter().any(|request| request.path.starts_with(MEDIUM)
            || request.path.starts_with("/me/small/")
            || request.path.starts_with("/files/")));
    }
    let case = libtorch();
    case.run().succeeded();
    fs::remove_file(case.path("libtorch/lib/libgomp.so.1")).unwrap();
    case.run().failed(&["libgomp.so.1", "is missing", "--force"]);
}
