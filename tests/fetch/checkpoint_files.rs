//! `fetch-weights OWNER/NAME` with what is there already: files of the user, directories, and caches
//! that have only some files of a repository; and answers of the hub that break off.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use test_support::{Server, read_json};

use crate::{
    cases::{COMMIT, Case, sha256},
    checkpoints::{
        Access, Files, Hub, WANTED, answer, assert_fetched, is_large, refused, repository,
    },
    hub::git_blob,
};

/// Puts files into the cache of a case, in the layout of Hugging Face's own tools, and returns the
/// directory of the repository in it.
fn write_cache(case: &Case, files: &Files) -> PathBuf {
    let cache = case.path("home/.cache/huggingface/hub/models--me--small");
    let snapshot = cache.join("snapshots").join(COMMIT);
    for folder in [&cache.join("blobs"), &cache.join("refs"), &snapshot] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(cache.join("refs/main"), COMMIT).unwrap();
    for (name, content) in files {
        let sum = if is_large(name) { sha256(content) } else { git_blob(content) };
        fs::write(cache.join("blobs").join(&sum), content).unwrap();
        symlink(cache.join("blobs").join(&sum), snapshot.join(name)).unwrap();
    }
    cache
}

#[test]
fn incomplete_cache_does_not_count_as_the_whole_checkpoint() {
    for name in ["me/small", &format!("me/small@{COMMIT}")] {
        let hub = Hub::start(repository(), Access::Public);
        let mut case = hub.case(name);
        case.arguments.push("--offline".to_owned());
        let mut some = repository();
        for name in ["tokenizer.json", "vocab.json"] {
            some.remove(name);
        }
        write_cache(&case, &some);
        let folder = case.path("weights/me--small");
        let there: Vec<&str> = WANTED.into_iter().filter(|name| some.contains_key(*name)).collect();
        // As often as it is asked offline.
        for _ in 0..2 {
            let stderr = case.run().succeeded().stderr();
            assert!(stderr.contains("may have lacked tokenizer.json, "), "{stderr}");
            assert!(stderr.contains("vocab.json"), "{stderr}");
            assert_fetched(&folder, &there, &repository());
            let missing = &read_json(&folder.join("fetched.json"))["may_lack"];
            assert!(missing.as_array().unwrap().contains(&json!("vocab.json")), "{missing}");
        }
        // With the network it is completed, once.
        case.arguments.pop();
        let stderr = case.run().succeeded().stderr();
        assert!(!stderr.contains("may have lacked"), "{stderr}");
        assert_fetched(&folder, &WANTED, &repository());
        assert_eq!(hub.sent().len(), 2, "{:?}", hub.sent());
        assert!(read_json(&folder.join("fetched.json"))["may_lack"].is_null());
        case.run().succeeded();
        assert_eq!(hub.sent().len(), 2);
    }
}

#[test]
fn cache_that_knows_which_files_there_are_is_whole() {
    let hub = Hub::start(repository(), Access::Public);
    let mut case = hub.case("me/small");
    case.arguments.push("--offline".to_owned());
    let cache = write_cache(&case, &repository());
    let absent = cache.join(".no_exist").join(COMMIT);
    fs::create_dir_all(&absent).unwrap();
    let absent_files = [
        "tokenizer_config.json",
        "vocab.txt",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tokenizer.model",
    ];
    for name in absent_files {
        fs::write(absent.join(name), "").unwrap();
    }
    let stderr = case.run().succeeded().stderr();
    assert!(!stderr.contains("may have lacked"), "{stderr}");
    assert_fetched(&case.path("weights/me--small"), &WANTED, &repository());
}

#[test]
fn missing_files_of_a_cache_are_not_blamed_on_the_repository() {
    let hub = Hub::start(repository(), Access::Public);
    let index = json!({"weight_map": {"wte.weight": "model-00001-of-00001.safetensors"}});
    let mut sharded = repository();
    sharded.remove("model.safetensors");
    sharded.insert("model.safetensors.index.json".to_owned(), index.to_string().into());
    let mut unweighted = repository();
    unweighted.retain(|name, _| !is_large(name) && name != "flax_model.msgpack");
    let unconfigured = Files::from([("vocab.json".to_owned(), b"{}".to_vec())]);
    for (files, words) in [
        (sharded, "lacks 1 of the 1 shards"),
        (unweighted, "has no weights"),
        (unconfigured, "has no config.json"),
    ] {
        let mut case = hub.case("me/small");
        case.arguments.push("--offline".to_owned());
        write_cache(&case, &files);
        let explained =
            "may have only some files of me/small@main, and HF_HUB_OFFLINE or --offline";
        refused(&case, case.run(), &[explained, "fetch it once with the network", words]);
    }
}

#[test]
fn answers_that_break_off_are_requested_again() {
    for part in ["/revision/", "/tree/"] {
        for has_length in [true, false] {
            let hub = Hub::start(repository(), Access::Public);
            let (proxied, cuts) = (hub.clone(), AtomicUsize::new(0));
            let server = Server::start(move |request| {
                let files = proxied.files.lock().unwrap();
                let reply = answer(request, &files, COMMIT, Access::Public, false, "/none/");
                let is_cut =
                    request.path.contains(part) && cuts.fetch_add(1, Ordering::Relaxed) < 2;
                match (is_cut, has_length) {
                    (false, _) => reply,
                    (true, true) => reply.cut_after(9),
                    (true, false) => reply.without_length().cut_after(9),
                }
            });
            let mut case = hub.case("me/small");
            case.environment[0].1 = server.url("");
            case.arguments.push("--dry-run".to_owned());
            let finished = case.run().succeeded();
            assert_eq!(finished.stdout().lines().count(), WANTED.len());
            let stderr = finished.stderr();
            assert_eq!(stderr.matches("trying again in").count(), 2, "{stderr}");
        }
    }
}

#[test]
fn changed_files_of_the_user_are_replaced_with_force_only_and_reported() {
    let hub = Hub::start(repository(), Access::Public);
    let mut case = hub.case("me/small");
    let folder = case.path("weights/me--small");
    case.run().succeeded();
    let settings = folder.join("generation_config.json");
    fs::write(&settings, "{\"temperature\": 0.7}").unwrap();
    case.run().failed(&["generation_config.json has changed since it was fetched", "--force"]);
    case.arguments.push("--force".to_owned());
    let note = "weights/me--small/generation_config.json was not as it was fetched, and was replaced \
                by the published one (--force)";
    let stderr = case.run().succeeded().stderr();
    assert!(stderr.contains(note), "{stderr}");
    assert_fetched(&folder, &WANTED, &repository());
    let stderr = case.run().succeeded().stderr();
    assert!(!stderr.contains("was not as it was fetched"), "{stderr}");

    // One that the repository did not have before, and one that it has no longer.
    fs::write(&settings, "{\"temperature\": 0.7}").unwrap();
    fs::write(folder.join("chat_template.jinja"), "mine").unwrap();
    let mut files = hub.files.lock().unwrap();
    files.insert("chat_template.jinja".to_owned(), b"{{ messages }}".to_vec());
    files.remove("generation_config.json");
    drop(files);
    case.arguments.pop();
    fs::remove_file(folder.join("vocab.json")).unwrap();
    fs::write(&settings, &repository()["generation_config.json"]).unwrap();
    case.run().failed(&["chat_template.jinja is not the published file", "--force"]);
    assert_eq!(fs::read(folder.join("chat_template.jinja")).unwrap(), b"mine");
    fs::write(&settings, "{\"temperature\": 0.7}").unwrap();
    case.arguments.push("--force".to_owned());
    let stderr = case.run().succeeded().stderr();
    for words in [
        "chat_template.jinja was not as it was fetched, and was replaced",
        "generation_config.json was not as it was fetched, and was removed, because",
    ] {
        assert!(stderr.contains(words), "{words:?} is not in {stderr}");
    }
    assert!(!settings.exists());
}

#[test]
fn failed_fetch_keeps_a_directory_that_was_there() {
    let hub = Hub::start(Files::new(), Access::Public);
    let mut case = hub.case("me/small");
    let out = case.path("mine");
    fs::create_dir(&out).unwrap();
    case.arguments.extend(["--out".to_owned(), out.display().to_string()]);
    case.run().failed(&["me/small has no config.json"]);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn dry_run_refuses_what_a_fetch_refuses() {
    let hub = Hub::start(repository(), Access::Public);
    let mut case = hub.case("me/small");
    let folder = case.path("weights/me--small");
    case.run().succeeded();
    case.arguments.push("--dry-run".to_owned());
    let stdout = case.run().succeeded().stdout();
    assert_eq!(stdout.matches(": is there").count(), WANTED.len(), "{stdout}");
    fs::remove_file(folder.join("fetched.json")).unwrap();
    case.run().failed(&["was not fetched from the Hub", "--out"]);
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    let stdout = case.run().succeeded().stdout();
    assert_eq!(stdout.matches("would be fetched from").count(), WANTED.len(), "{stdout}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}
