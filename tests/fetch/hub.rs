//! `fetch-weights` alone.

use std::{fs, os::unix::fs::symlink};

use test_support::{Reply, Server};

use crate::cases::{MEDIUM, sha256, weights};

const REVISION: &str = "6dcaa7a952f72f9298047fd5137cd6e4f05f41da";

#[test]
fn token_is_sent_to_the_hub_only() {
    let mut case = weights();
    let content = case.content.clone();
    let sum = sha256(&content);
    let store = Server::start(move |request| Reply::file(&content, request));
    // As the hub does it: a relative redirect to the right name of a repository,
    // then one to where large files are, with the checksum of the file.
    let (away, config) = (store.url("/blob"), br#"{"n_embd": 1024}"#.to_vec());
    let config_sum = sha256(&config);
    let hub = Server::start(move |request| {
        if let Some(file) = request.path.strip_prefix(MEDIUM) {
            return Reply::status(307).with("Location", format!("/renamed{file}"));
        }
        match request.path.as_str() {
            "/renamed/config.json" => {
                Reply::file(&config, request).with("ETag", format!("W/\"{config_sum}\""))
            }
            "/renamed/model.safetensors" => Reply::status(302)
                .with("X-Linked-Etag", format!("\"{sum}\""))
                .with("X-Linked-Size", "200000")
                .with("Location", away.clone()),
            _ => Reply::status(404),
        }
    });
    case.environment =
        vec![("HF_ENDPOINT".to_owned(), hub.url("")), ("HF_TOKEN".to_owned(), "hush".to_owned())];
    let stderr = case.run().succeeded().stderr();
    case.is_complete();
    assert!(!stderr.contains("hush"), "{stderr}");
    let with_token = |server: &Server| {
        let seen = server.seen().into_iter();
        seen.filter(|request| request.headers.contains_key("authorization")).count()
    };
    assert!(with_token(&hub) > 0);
    assert_eq!((with_token(&store), store.seen().len()), (0, 1));
}

#[test]
fn small_files_are_checked_by_their_git_hash() {
    let config = br#"{"n_embd": 1024, "n_layer": 24, "n_head": 16}"#;
    let content = weights().content;
    for (tag, is_right) in [(git_blob(config), true), (git_blob(b"another"), false)] {
        let (content, tag) = (content.clone(), tag.clone());
        let hub = Server::start(move |request| {
            if request.path.ends_with("config.json") {
                return Reply::file(config, request).with("ETag", format!("\"{tag}\""));
            }
            Reply::file(&content, request).with("X-Linked-Etag", sha256(&content))
        });
        let mut case = weights();
        case.environment = vec![("HF_ENDPOINT".to_owned(), hub.url(""))];
        if is_right {
            case.run().succeeded();
            case.is_complete();
        } else {
            case.run().failed(&["config.json", "git blob"]);
            case.is_absent();
        }
    }
}

/// Blob hash of a file, computed by git.
pub fn git_blob(content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, content).unwrap();
    let output = std::process::Command::new("git").arg("hash-object").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn weights_need_a_checksum_and_a_matching_config() {
    let fetch = |config: &'static str| {
        let content = weights().content;
        let hub = Server::start(move |request| match request.path.ends_with("config.json") {
            true => Reply::file(config.as_bytes(), request),
            false => Reply::file(&content, request),
        });
        let mut case = weights();
        case.environment = vec![("HF_ENDPOINT".to_owned(), hub.url(""))];
        let finished = case.run();
        (case, finished)
    };
    let (case, finished) = fetch(r#"{"n_embd": 1024, "n_layer": 24, "n_head": 16}"#);
    finished.failed(&["model.safetensors", "no checksum"]);
    case.is_absent();
    assert!(case.path("weights/gpt2-medium/config.json").is_file());
    let (case, finished) = fetch(r#"{"n_embd": 768}"#);
    finished.failed(&["config.json", "n_embd is 768, expected 1024"]);
    assert!(!case.path("weights/gpt2-medium/config.json").exists());
}

#[test]
fn pinned_checksum_is_enforced() {
    let mut case = weights();
    case.arguments[1] = "gpt2".to_owned();
    let hub = Server::start(|request| {
        Reply::file(b"{\"n_embd\": 768}", request).with("ETag", sha256(b"{\"n_embd\": 768}"))
    });
    case.environment = vec![("HF_ENDPOINT".to_owned(), hub.url(""))];
    case.run().failed(&["model.safetensors", "15 bytes", "548105171"]);
    assert!(!case.path("weights/gpt2/model.safetensors").exists());
    fs::write(case.path("weights/gpt2/model.safetensors"), "mine").unwrap();
    case.run().failed(&["weights/gpt2/model.safetensors is not the published file", "--force"]);
}

#[test]
fn cache_is_used_first_and_alone_when_offline() {
    let mut case = weights();
    case.environment.push(("HF_HUB_OFFLINE".to_owned(), "1".to_owned()));
    case.run().failed(&["config.json is not in the cache", "HF_HUB_OFFLINE"]);

    // The layout of Hugging Face's own tools: links to files named by checksum.
    let cache = case.path("home/.cache/huggingface/hub/models--openai-community--gpt2-medium");
    let snapshot = cache.join("snapshots").join(REVISION);
    fs::create_dir_all(cache.join("blobs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    let config = br#"{"n_embd": 1024}"#.to_vec();
    for (name, content) in [("config.json", &config), ("model.safetensors", &case.content)] {
        let blob = cache.join("blobs").join(sha256(content));
        fs::write(&blob, content).unwrap();
        symlink(&blob, snapshot.join(name)).unwrap();
    }
    case.run().succeeded();
    case.is_complete();
    assert!(case.server.seen().is_empty());

    // A damaged cache does not matter if the hub can be reached.
    fs::write(cache.join("blobs").join(sha256(&case.content)), "damaged").unwrap();
    fs::remove_dir_all(case.path("weights")).unwrap();
    case.run().failed(&["model.safetensors is not in the cache"]);
    case.environment.pop();
    let stderr = case.run().succeeded().stderr();
    assert!(stderr.contains("is of no use"), "{stderr}");
    case.is_complete();
}

#[test]
fn dry_run_fetches_nothing() {
    let mut case = weights();
    case.arguments.push("--dry-run".to_owned());
    let stdout = case.run().succeeded().stdout();
    for word in ["weights/gpt2-medium/model.safetensors", &case.server.url(MEDIUM)] {
        assert!(stdout.contains(word), "{stdout}");
    }
    assert!(case.server.seen().is_empty());
    assert!(!case.path("weights").exists());
}
