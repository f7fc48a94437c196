//! `cargo xtask fetch-…` against a server on loopback, the same cases for all downloads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod archives;
mod cases;
mod checkpoint_files;
mod checkpoints;
mod hub;
mod interrupted;
mod libtorch;
#[cfg(target_os = "linux")]
mod power_cut;
mod secrets;
mod servers;

use std::{fs, thread, time::Duration};

use cases::Case;
use test_support::Reply;

#[test]
fn complete_files_are_not_fetched_again() {
    for case in Case::all() {
        case.run().succeeded();
        case.is_complete();
        let asked = case.server.seen().len();
        if case.result.ends_with("SMSSpamCollection") {
            // The test's archive does not contain the published file.
            case.run().failed(&["SMSSpamCollection is not the published file", "--force"]);
        } else {
            case.run().succeeded();
        }
        assert_eq!(case.server.seen().len(), asked, "the server was asked again");
        case.is_complete();
    }
}

#[test]
fn closed_connection_resumes_at_its_offset() {
    for case in Case::all() {
        case.fault(|content, request| Reply::file(content, request).cut_after(40_000));
        case.fault(|content, request| Reply::file(content, request).cut_after(0));
        case.run().succeeded();
        case.is_complete();
        let ranges: Vec<_> =
            case.seen().iter().map(|request| request.headers.get("range").cloned()).collect();
        let rest = Some("bytes=40000-".to_owned());
        assert_eq!(ranges, [None, rest.clone(), rest]);
    }
}

#[test]
fn earlier_download_is_resumed() {
    for case in Case::all() {
        case.fault(|content, request| Reply::file(content, request).stalled_after(30_000));
        let mut first = case.spawn();
        let part = case.path(&case.part);
        let length = || fs::metadata(&part).map_or(0, |file| file.len());
        for _ in 0..600 {
            if length() == 30_000 {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(length(), 30_000);
        // A second download does not disturb the first.
        case.run().failed(&["another fetch is at work"]);
        assert_eq!(length(), 30_000);
        // As Ctrl-C ends it, but also where a shell has it ignore that signal.
        let status = std::process::Command::new("kill")
            .args(["-TERM", &first.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        assert!(!first.wait().unwrap().success());
        case.is_absent();
        case.run().succeeded();
        case.is_complete();
        let last = case.seen().pop().unwrap();
        assert_eq!(last.headers.get("range").map(String::as_str), Some("bytes=30000-"));
    }
}

#[test]
fn server_without_ranges_sends_everything_again() {
    for case in Case::all() {
        case.fault(|content, request| Reply::file(content, request).cut_after(20_000));
        case.fault(|content, request| {
            let mut whole = request.clone();
            whole.headers.remove("range");
            Reply::file(content, &whole)
        });
        case.run().succeeded();
        case.is_complete();
    }
}

#[test]
fn remains_of_another_file_are_discarded() {
    for case in Case::all() {
        let part = case.path(&case.part);
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        fs::write(&part, "something else").unwrap();
        case.run().succeeded();
        case.is_complete();
        // It may also be longer than all of the file.
        fs::remove_dir_all(case.root.path()).unwrap();
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        fs::write(&part, vec![b'x'; 17 << 20]).unwrap();
        let asked = case.seen().len();
        case.run().succeeded();
        case.is_complete();
        // A range after the end would be refused.
        let seen = case.seen().into_iter().skip(asked);
        assert!(seen.map(|request| request.headers).all(|all| !all.contains_key("range")));
    }
}

#[test]
fn redirects_are_followed() {
    for case in Case::all() {
        let (path, url) =
            (format!("/moved{}", case.main), case.server.url(&format!("/moved{}", case.main)));
        case.fault(move |_, _| Reply::status(302).with("Location", path.clone()));
        case.run().succeeded();
        case.is_complete();
        fs::remove_dir_all(case.root.path()).unwrap();
        fs::create_dir(case.root.path()).unwrap();
        case.fault(move |_, _| Reply::status(307).with("Location", url.clone()));
        case.run().succeeded();
        case.is_complete();
    }
}

#[test]
fn unpublished_file_is_refused() {
    for case in Case::all() {
        case.fault(|content, request| {
            let mut other = content.to_vec();
            other[1000] ^= 1;
            Reply::file(&other, request)
        });
        case.run().failed(&["is not the published file", "checksum is sha256"]);
        case.is_absent();
        // The wrong file is not resumed.
        case.run().succeeded();
        case.is_complete();
    }
}

#[test]
fn busy_server_is_retried_after_its_delay() {
    for case in Case::all() {
        case.fault(|_, _| Reply::status(429).with("Retry-After", "0"));
        case.fault(|_, _| Reply::status(503).with("Retry-After", "0"));
        case.fault(|_, _| Reply::status(500));
        case.run().succeeded();
        case.is_complete();
        assert_eq!(case.seen().len(), 4);
    }
}

#[test]
fn retries_end_after_five_attempts() {
    for case in Case::all() {
        for _ in 0..5 {
            case.fault(|_, _| Reply::status(503).with("Retry-After", "0"));
        }
        case.run().failed(&["answers 503", "5 attempts", "_PROXY"]);
        assert_eq!(case.seen().len(), 5);
        case.is_absent();
    }
}

#[test]
fn missing_file_is_reported_at_once() {
    for case in Case::all() {
        case.fault(|_, _| Reply::status(404));
        case.run().failed(&["answers 404", "cannot be fetched"]);
        assert_eq!(case.seen().len(), 1);
        case.is_absent();
    }
}

#[test]
fn unwritable_folder_is_named() {
    for case in Case::all() {
        // Not even the superuser can make a folder where a file is.
        fs::write(case.path(case.first_folder), "a file").unwrap();
        case.run().failed(&["cannot write", case.first_folder]);
        assert!(case.server.seen().is_empty());
    }
}

#[test]
fn proxies_are_used() {
    for mut case in Case::all() {
        let proxy = test_support::Server::start(|_| Reply::status(502));
        case.environment.push(("HTTP_PROXY".to_owned(), proxy.url("")));
        case.run().succeeded();
        case.is_complete();
        let through = proxy.seen().iter().filter(|request| request.method == "CONNECT").count();
        assert!(through >= 1);
        assert_eq!(through, case.server.seen().len(), "some requests went past the proxy");
    }
}
