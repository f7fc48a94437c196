//! `fetch-weights OWNER/NAME` alone, against a server that answers as the hub does.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use test_support::{Finished, Reply, Request, Server, fixture, one_sentence, read_json};

use crate::{
    cases::{COMMIT, Case, checkpoint, config_of, files_below, safetensors_of, sha256, shapes_of},
    hub::git_blob,
};

const OTHER_COMMIT: &str = "fedcba9876543210fedcba9876543210fedcba98";
const TOKEN: &str = "hush";

/// Access to a repository.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Access {
    Public,
    /// Listed for everyone, its files for accounts that accepted its conditions.
    Gated,
    /// Does not exist for strangers.
    Private,
}

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The repository `me/small` on a hub, and the server for its large files.
#[derive(Clone)]
pub(crate) struct Hub {
    pub files: Arc<Mutex<Files>>,
    /// Commit of the branch main.
    commit: Arc<Mutex<&'static str>>,
    pub server: Server,
    store: Server,
}

/// Files that the hub keeps outside git.
pub(crate) fn is_large(name: &str) -> bool {
    [".safetensors", ".bin", ".h5", "tokenizer.json"].iter().any(|end| name.ends_with(end))
}

impl Hub {
    pub fn start(files: Files, access: Access) -> Self {
        let files = Arc::new(Mutex::new(files));
        let commit = Arc::new(Mutex::new(COMMIT));
        let stored = Arc::clone(&files);
        let store = Server::start(move |request| {
            let stored = stored.lock().unwrap();
            let name = request.path.strip_prefix("/blobs/").unwrap().split('?').next().unwrap();
            let content = stored.values().find(|content| sha256(content) == name);
            content.map_or(Reply::status(404), |content| Reply::file(content, request))
        });
        let (served, main, away) = (Arc::clone(&files), Arc::clone(&commit), store.url("/blobs/"));
        let server = Server::start(move |request| {
            let has_token = request
                .headers
                .get("authorization")
                .is_some_and(|it| *it == format!("Bearer {TOKEN}"));
            answer(
                request,
                &served.lock().unwrap(),
                *main.lock().unwrap(),
                access,
                has_token,
                &away,
            )
        });
        Self { files, commit, server, store }
    }

    pub fn case(&self, name: &str) -> Case {
        let mut case = checkpoint();
        case.environment = vec![("HF_ENDPOINT".to_owned(), self.server.url(""))];
        case.arguments = vec!["fetch-weights".to_owned(), name.to_owned()];
        case
    }

    /// Files that were sent.
    pub fn sent(&self) -> Vec<String> {
        let seen = self.server.seen().into_iter().map(|request| request.path);
        seen.filter(|path| path.contains("/resolve/")).collect()
    }
}

fn refusal(status: u16, code: &str) -> Reply {
    Reply::status(status).with("X-Error-Code", code).with("X-Error-Message", "in words")
}

/// Answers as the hub does. The listing has pages of two entries; as from a mirror, the links
/// between them lead to the hub itself.
pub(crate) fn answer(
    request: &Request,
    files: &Files,
    main: &str,
    access: Access,
    has_token: bool,
    away: &str,
) -> Reply {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let is_api = path.starts_with("/api/models/me/small/");
    let name = path.strip_prefix("/api/models").unwrap_or(path);
    let Some(rest) = name.strip_prefix("/me/small/") else {
        return if has_token { refusal(404, "RepoNotFound") } else { refusal(401, "RepoNotFound") };
    };
    match access {
        Access::Private if !has_token => return refusal(401, "RepoNotFound"),
        Access::Gated if !has_token && !is_api => return refusal(401, "GatedRepo"),
        _ => {}
    }
    let (action, rest) = rest.split_once('/').unwrap();
    let (revision, file) = rest.split_once('/').unwrap_or((rest, ""));
    let commit = match revision {
        "main" | "refs%2Fpr%2F1" => main,
        commit if [COMMIT, OTHER_COMMIT].contains(&commit) => commit,
        _ => return refusal(404, "RevisionNotFound"),
    };
    match action {
        "revision" => {
            let info = json!({"id": "me/small", "sha": commit, "private": false});
            Reply::file(info.to_string().as_bytes(), request)
        }
        "tree" => {
            let start = query.strip_prefix("cursor=").map_or(0, |at| at.parse().unwrap());
            let entry = |(name, content): (&String, &Vec<u8>)| match is_large(name) {
                false => json!({"type": "file", "path": name, "oid": git_blob(content),
                                "size": content.len()}),
                true => json!({"type": "file", "path": name, "oid": git_blob(b"pointer"),
                               "size": content.len(), "lfs": {"oid": sha256(content),
                               "size": content.len(), "pointerSize": 134}, "xetHash": "0"}),
            };
            let folder = json!({"type": "directory", "path": "onnx", "oid": "0", "size": 0});
            let all: Vec<Value> = [folder].into_iter().chain(files.iter().map(entry)).collect();
            let page: Value = all.iter().skip(start).take(2).cloned().collect();
            let reply = Reply::file(page.to_string().as_bytes(), request);
            if start + 2 >= all.len() {
                return reply;
            }
            let next = format!("https://huggingface.co{path}?cursor={}", start + 2);
            reply.with("Link", format!("<{next}>; rel=\"next\""))
        }
        "resolve" => match files.get(file) {
            None => refusal(404, "EntryNotFound"),
            Some(content) if is_large(file) => Reply::status(302)
                .with("X-Linked-Etag", format!("\"{}\"", sha256(content)))
                .with("X-Linked-Size", content.len().to_string())
                .with("Location", format!("{away}{}?X-Amz-Signature=signed", sha256(content))),
            Some(content) => {
                Reply::file(content, request).with("ETag", format!("\"{}\"", git_blob(content)))
            }
        },
        _ => Reply::status(404),
    }
}

/// Files of a repository, some of which nobody wants.
pub(crate) fn repository() -> Files {
    let files: [(&str, Vec<u8>); 10] = [
        (".gitattributes", b"*.bin filter=lfs".to_vec()),
        ("README.md", b"# Small".to_vec()),
        ("config.json", config_of(50).to_string().into_bytes()),
        ("flax_model.msgpack", b"flax".to_vec()),
        ("generation_config.json", b"{}".to_vec()),
        ("merges.txt", b"#version: 0.2\n".to_vec()),
        ("model.safetensors", safetensors_of(&shapes_of(50))),
        ("pytorch_model.bin", b"the same as a pickle".to_vec()),
        ("tokenizer.json", b"{\"model\": {}}".to_vec()),
        ("vocab.json", b"{\"a\": 0}".to_vec()),
    ];
    files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect()
}

/// Files of [`repository`] that are fetched.
pub(crate) const WANTED: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors",
    "tokenizer.json",
    "vocab.json",
];

/// Asserts that a directory has exactly the wanted files of a repository, and its records.
#[track_caller]
pub(crate) fn assert_fetched(folder: &Path, wanted: &[&str], repository: &Files) {
    let mut there = files_below(folder);
    for record in [".lock", "fetched.json", "SHA256SUMS"] {
        assert!(there.remove(Path::new(record)).is_some(), "{record} is missing");
    }
    let names: Vec<&str> = there.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, wanted);
    for name in wanted {
        assert!(there[Path::new(name)] == repository[*name], "{name}");
    }
}

/// Asserts a failure in one sentence that leaves no directory behind.
#[track_caller]
pub(crate) fn refused(case: &Case, finished: Finished, words: &[&str]) {
    let sentence = one_sentence(&finished.failed(words).stderr());
    assert!(sentence.len() < 450, "{sentence}");
    let left = files_below(&case.path("weights"));
    assert!(left.is_empty(), "{:?}", left.keys());
    assert!(!case.path("weights/me--small").exists());
}

#[test]
fn checkpoint_is_fetched_with_its_tokenizer_at_one_commit() {
    let hub = Hub::start(repository(), Access::Public);
    let mut case = hub.case("me/small");
    case.environment.push(("HF_TOKEN".to_owned(), TOKEN.to_owned()));
    let folder = case.path("weights/me--small");
    let stderr = case.run().succeeded().stderr();
    assert!(stderr.contains(&format!("of me/small at commit {COMMIT}")), "{stderr}");
    assert!(stderr.trim_end().ends_with("use it with --model weights/me--small"), "{stderr}");
    assert_fetched(&folder, &WANTED, &repository());

    let record = read_json(&folder.join("fetched.json"));
    assert_eq!(record["repository"], "me/small");
    assert_eq!((&record["revision"], &record["commit"]), (&json!("main"), &json!(COMMIT)));
    let weights = &repository()["model.safetensors"];
    let described = json!({"size": weights.len(), "sha256": sha256(weights)});
    assert_eq!(record["files"]["model.safetensors"], described);
    let config = &repository()["config.json"];
    let described = json!({"size": config.len(), "git_blob": git_blob(config)});
    assert_eq!(record["files"]["config.json"], described);

    // Every file is of the commit that main was at first, and the token stays with the hub.
    assert!(hub.sent().iter().all(|path| path.contains(COMMIT)), "{:?}", hub.sent());
    let has_token = |request: &Request| request.headers.contains_key("authorization");
    assert!(hub.server.seen().iter().all(has_token));
    assert!(!hub.store.seen().is_empty() && !hub.store.seen().iter().any(has_token));

    let sent = hub.sent().len();
    case.run().succeeded();
    assert_eq!(hub.sent().len(), sent, "files were sent again");
    let asked = hub.server.seen().len();
    for (argument, variable) in [(Some("--offline"), "0"), (None, "1")] {
        let mut command = case.command();
        command.args(argument).env("HF_HUB_OFFLINE", variable);
        assert!(command.output().unwrap().status.success());
    }
    assert_eq!(hub.server.seen().len(), asked, "the hub was asked offline");
}

#[test]
fn revisions_and_directories_can_be_given() {
    let hub = Hub::start(repository(), Access::Public);
    let mut case = hub.case("me/small@refs/pr/1");
    let out = case.path("elsewhere/mine");
    case.arguments.extend(["--out".to_owned(), out.display().to_string()]);
    case.run().succeeded();
    assert_fetched(&out, &WANTED, &repository());
    // The directory is another repository's from now on.
    case.arguments[1] = "me/other".to_owned();
    case.run().failed(&["elsewhere/mine has me/small", "--out"]);
    // A directory with the user's own files as well.
    fs::remove_file(out.join("fetched.json")).unwrap();
    for force in [None, Some("--force")] {
        let mut command = case.command();
        let output = command.args(force).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("was not fetched from the Hub"), "{stderr}");
    }
    assert!(out.join("model.safetensors").is_file());
}

#[test]
fn shards_are_fetched_and_missing_ones_named() {
    let mut files = repository();
    files.remove("model.safetensors");
    let shapes = shapes_of(50);
    let prefixed =
        shapes.iter().map(|(name, shape)| (format!("transformer.{name}"), shape.clone()));
    let (first, second): (BTreeMap<_, _>, BTreeMap<_, _>) =
        prefixed.partition(|(name, _)| name.contains(".h."));
    let shard = |number: usize| format!("model-0000{number}-of-00002.safetensors");
    let map: BTreeMap<&String, String> = first
        .keys()
        .map(|name| (name, shard(1)))
        .chain(second.keys().map(|name| (name, shard(2))))
        .collect();
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    files.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
    files.insert(shard(1), safetensors_of(&first));
    files.insert(shard(2), safetensors_of(&second));
    let hub = Hub::start(files.clone(), Access::Public);
    let case = hub.case("me/small");
    case.run().succeeded();
    let (one, two) = (shard(1), shard(2));
    let wanted = [
        "config.json",
        "generation_config.json",
        "merges.txt",
        &one,
        &two,
        "model.safetensors.index.json",
        "tokenizer.json",
        "vocab.json",
    ];
    assert_fetched(&case.path("weights/me--small"), &wanted, &files);

    hub.files.lock().unwrap().remove(&two);
    let case = hub.case("me/small");
    let sent = hub.store.seen().len();
    let words = ["me/small lacks 1 of the 2 shards", &two, "me/small@REVISION"];
    refused(&case, case.run(), &words);
    assert_eq!(hub.store.seen().len(), sent, "a shard was fetched for nothing");

    for (shard, word) in [
        ("../../evil.safetensors", "is not the name of a .safetensors or .bin file"),
        ("", "is not the name"),
        ("config.json", "\"config.json\" is not the name"),
        ("\u{1b}[31m.bin", "lacks 1 of the 1 shards"),
    ] {
        let index = json!({"weight_map": {"wte.weight": shard}}).to_string();
        hub.files.lock().unwrap().insert("model.safetensors.index.json".to_owned(), index.into());
        let case = hub.case("me/small");
        refused(&case, case.run(), &["model.safetensors.index.json", word]);
    }
}

#[test]
fn pickles_are_fetched_where_there_is_nothing_else() {
    let mut files = repository();
    files.remove("model.safetensors");
    let read = |path: &str| fs::read(fixture(path)).unwrap();
    files.insert("config.json".to_owned(), read("peft/base/config.json"));
    files.insert("pytorch_model.bin".to_owned(), read("pickles/pytorch_model.bin"));
    let hub = Hub::start(files.clone(), Access::Public);
    let case = hub.case("me/small");
    case.run().succeeded();
    let wanted =
        WANTED.map(|name| if name.starts_with("model") { "pytorch_model.bin" } else { name });
    assert_fetched(&case.path("weights/me--small"), &wanted, &files);

    for (name, word) in [
        ("pickles/refused_module.bin", "pytorch_model.bin: its pickle"),
        ("pickles/refused_legacy.bin", "save it as safetensors"),
    ] {
        hub.files.lock().unwrap().insert("pytorch_model.bin".to_owned(), read(name));
        let case = hub.case("me/small");
        refused(&case, case.run(), &["me/small cannot be used", word]);
    }
}

#[test]
fn inaccessible_repositories_are_explained() {
    let public = Hub::start(repository(), Access::Public);
    let gated = Hub::start(repository(), Access::Gated);
    let private = Hub::start(repository(), Access::Private);
    let endpoint = |hub: &Hub| hub.server.url("");
    for (hub, name, token, words) in [
        (
            &public,
            "me/none",
            "",
            &["me/none does not exist, is private or is gated", "set HF_TOKEN"][..],
        ),
        (
            &public,
            "me/none",
            TOKEN,
            &["me/none does not exist on", &endpoint(&public), "check the name"],
        ),
        (&public, "me/small@v9", "", &["me/small has no revision v9", "a tag or a commit"]),
        (
            &gated,
            "me/small",
            "",
            &["me/small is gated", &(endpoint(&gated) + "/me/small"), "set HF_TOKEN"],
        ),
        (
            &gated,
            "me/small",
            "wrong",
            &["me/small is gated", "the access token (HF_TOKEN) may not read it"],
        ),
        (&private, "me/small", "", &["does not exist, is private", "set HF_TOKEN"]),
    ] {
        let mut case = hub.case(name);
        case.environment.push(("HF_TOKEN".to_owned(), token.to_owned()));
        refused(&case, case.run(), words);
        assert!(hub.store.seen().is_empty());
    }
    for hub in [&gated, &private] {
        let mut case = hub.case("me/small");
        case.environment.push(("HF_TOKEN".to_owned(), TOKEN.to_owned()));
        case.run().succeeded();
    }
    let forbidden = Server::start(|_| Reply::status(403));
    let mut case = checkpoint();
    case.environment = vec![("HF_ENDPOINT".to_owned(), forbidden.url(""))];
    refused(&case, case.run(), &["me/small is private or gated", "set HF_TOKEN"]);
    for (name, word) in [
        ("me/small/x", "expected OWNER/NAME"),
        ("../small", "expected OWNER/NAME"),
        ("unknown", "gpt2-xl"),
        ("me/small@", "is not a revision"),
    ] {
        let case = public.case(name);
        refused(&case, case.run(), &[word]);
    }
}

#[test]
fn unusable_repositories_are_refused_before_the_weights_are_fetched() {
    let config = |changes: Value| {
        let mut config = config_of(50);
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        config.to_string().into_bytes()
    };
    type Change = (&'static str, Option<Vec<u8>>);
    let none = |name| -> Change { (name, None) };
    let llama = br#"{"model_type": "llama", "hidden_size": 4096, "vocab_size": 32000}"#.to_vec();
    let cases: [(Vec<Change>, &[&str]); 11] = [
        (vec![none("config.json")], &["me/small has no config.json"]),
        (
            vec![none("config.json"), ("adapter_config.json", Some(b"{}".to_vec()))],
            &["me/small is an adapter", "fetch its base model"],
        ),
        (
            vec![none("model.safetensors"), none("pytorch_model.bin")],
            &[
                "got flax_model.msgpack;",
                "model.safetensors or pytorch_model.bin",
                "save_pretrained",
            ],
        ),
        (
            vec![none("model.safetensors"), none("pytorch_model.bin"), none("flax_model.msgpack")],
            &["me/small has no weights"],
        ),
        (
            vec![("config.json", Some(llama))],
            &["me/small is a model of the architecture llama", "expected gpt2", "choose"],
        ),
        (
            vec![("config.json", Some(config(json!({"model_type": "bert"}))))],
            &["architecture bert", "expected gpt2"],
        ),
        (
            vec![("config.json", Some(config(json!({"n_head": 3}))))],
            &["me/small cannot be used: config.json: n_embd: expected a multiple of n_head 3"],
        ),
        (
            vec![("config.json", Some(b"<html>".to_vec()))],
            &["config.json: not a GPT-2 configuration"],
        ),
        // As the programs that load the model.
        (
            vec![("config.json", Some(config(json!({"eos_token_id": "</s>"}))))],
            &["me/small cannot be used: config.json: eos_token_id: expected the id of a token"],
        ),
        (
            vec![("generation_config.json", Some(br#"{"pad_token_id": [0]}"#.to_vec()))],
            &["me/small cannot be used: generation_config.json: pad_token_id: expected the id"],
        ),
        (
            vec![("generation_config.json", Some(b"<html>".to_vec()))],
            &["me/small cannot be used: generation_config.json: expected a JSON object"],
        ),
    ];
    for (changes, words) in cases {
        let mut files = repository();
        for (name, content) in changes {
            match content {
                Some(content) => files.insert(name.to_owned(), content),
                None => files.remove(name),
            };
        }
        let hub = Hub::start(files, Access::Public);
        let case = hub.case("me/small");
        refused(&case, case.run(), words);
        assert!(hub.store.seen().is_empty(), "{words:?}");
    }
}

#[test]
fn weights_that_do_not_fit_their_config_are_refused() {
    let with = |name: &str, shape: &[usize]| {
        let mut shapes = shapes_of(50);
        shapes.insert(name.to_owned(), shape.to_vec());
        safetensors_of(&shapes)
    };
    let without = |name: &str| {
        let mut shapes = shapes_of(50);
        shapes.remove(name).unwrap();
        safetensors_of(&shapes)
    };
    let whole = safetensors_of(&shapes_of(50));
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid".to_vec();
    for (weights, words) in [
        (with("wte.weight", &[51, 32]), "wte.weight has 51 rows, expected 50 (vocab_size)"),
        (with("lm_head.weight", &[51, 32]), "lm_head.weight has 51 rows, expected 50 (vocab_size)"),
        (with("wpe.weight", &[9, 32]), "wpe.weight has shape [9, 32], expected [8, 32]"),
        (with("h.0.mlp.c_fc.weight", &[32, 128]), "h.0.mlp.c_fc.weight has shape [32, 128]"),
        (with("h.1.ln_1.weight", &[32]), "h.1.ln_1.weight is not a tensor of this model"),
        (without("h.0.attn.c_proj.bias"), "h.0.attn.c_proj.bias is missing"),
        (whole[..whole.len() - 4].to_vec(), "model.safetensors: not a whole safetensors file"),
        (pointer, "model.safetensors: a git-lfs pointer"),
    ] {
        let mut files = repository();
        files.insert("model.safetensors".to_owned(), weights);
        let hub = Hub::start(files, Access::Public);
        let case = hub.case("me/small");
        refused(&case, case.run(), &["me/small cannot be used", words]);
    }
    // A head of its own is usable if the configuration says so.
    let mut files = repository();
    let mut shapes = shapes_of(50);
    let plain = safetensors_of(&shapes);
    shapes.insert("lm_head.weight".to_owned(), vec![50, 32]);
    let tied = safetensors_of(&shapes);
    // The last tensor by name is the token embedding.
    let mut untied = tied.clone();
    *untied.last_mut().unwrap() ^= 1;
    for (weights, config, is_usable) in [
        (tied, json!({}), true),
        (untied.clone(), json!({}), false),
        (untied, json!({"tie_word_embeddings": false}), true),
        // The body of a classifier.
        (plain, json!({"tie_word_embeddings": false}), true),
    ] {
        let mut settings = config_of(50);
        settings.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        files.insert("config.json".to_owned(), settings.to_string().into_bytes());
        files.insert("model.safetensors".to_owned(), weights);
        let hub = Hub::start(files.clone(), Access::Public);
        let case = hub.case("me/small");
        // The first fetch, and one that finds everything there.
        for _ in 0..2 {
            let stderr = case.run().succeeded().stderr();
            assert_eq!(stderr.contains("use it with --model"), is_usable, "{stderr}");
            assert_eq!(stderr.contains("tie_word_embeddings is true"), !is_usable, "{stderr}");
        }
    }
}

#[test]
fn tokenizer_that_has_to_be_converted_is_named() {
    let mut files = repository();
    for name in ["tokenizer.json", "vocab.json", "merges.txt"] {
        files.remove(name);
    }
    files.insert("spiece.model".to_owned(), vec![10, 20]);
    for (has_pipeline, is_usable) in [(false, false), (true, true)] {
        if has_pipeline {
            files.insert("tokenizer.json".to_owned(), b"{}".to_vec());
        }
        let hub = Hub::start(files.clone(), Access::Public);
        let stderr = hub.case("me/small").run().succeeded().stderr();
        assert_eq!(stderr.contains("use it with --model"), is_usable, "{stderr}");
        assert_eq!(stderr.contains("save_pretrained"), !is_usable, "{stderr}");
    }
}

#[test]
fn other_files_under_a_moved_branch_need_force() {
    let hub = Hub::start(repository(), Access::Public);
    let mut case = hub.case("me/small");
    let folder = case.path("weights/me--small");
    case.run().succeeded();
    // The user's own settings of the model.
    let own = folder.join("fine_tuning.json");
    fs::write(&own, "{}").unwrap();

    // A commit that changes none of the fetched files is the same checkpoint.
    *hub.commit.lock().unwrap() = OTHER_COMMIT;
    hub.files.lock().unwrap().insert("README.md".to_owned(), b"new".to_vec());
    let sent = hub.sent().len();
    case.run().succeeded();
    assert_eq!(hub.sent().len(), sent);

    let mut changed = repository();
    changed.remove("merges.txt");
    changed.insert("config.json".to_owned(), config_of(60).to_string().into_bytes());
    changed.insert("model.safetensors".to_owned(), safetensors_of(&shapes_of(60)));
    *hub.files.lock().unwrap() = changed.clone();
    case.run().failed(&[COMMIT, OTHER_COMMIT, "--force", "--out"]);
    assert_eq!(fs::read(folder.join("config.json")).unwrap(), repository()["config.json"]);
    case.arguments.push("--force".to_owned());
    case.run().succeeded();
    assert_eq!(fs::read(&own).unwrap(), b"{}");
    fs::remove_file(&own).unwrap();
    let wanted: Vec<&str> = WANTED.into_iter().filter(|name| *name != "merges.txt").collect();
    assert_fetched(&folder, &wanted, &changed);
    assert!(!fs::read_to_string(folder.join("SHA256SUMS")).unwrap().contains("merges.txt"));
    assert_eq!(read_json(&folder.join("fetched.json"))["commit"], OTHER_COMMIT);
}

#[test]
fn only_missing_files_are_fetched_again() {
    let hub = Hub::start(repository(), Access::Public);
    let case = hub.case("me/small");
    let folder = case.path("weights/me--small");
    case.run().succeeded();
    for missing in ["vocab.json", "config.json"] {
        fs::remove_file(folder.join(missing)).unwrap();
        let sent = hub.sent().len();
        case.run().succeeded();
        let path = format!("/me/small/resolve/{COMMIT}/{missing}");
        assert_eq!(hub.sent()[sent..], [path]);
        assert_fetched(&folder, &WANTED, &repository());
    }
}

#[test]
fn no_file_has_its_final_name_before_all_are_verified() {
    let hub = Hub::start(repository(), Access::Public);
    // The store sends another file than the listing has.
    let other = Server::start(|request| Reply::file(b"another", request));
    let proxied = hub.clone();
    let away = other.url("/");
    let front = Server::start(move |request| {
        if request.path.ends_with("tokenizer.json") {
            return Reply::status(302).with("Location", away.clone());
        }
        let files = proxied.files.lock().unwrap();
        answer(request, &files, COMMIT, Access::Public, false, &proxied.store.url("/blobs/"))
    });
    let mut case = hub.case("me/small");
    case.environment[0].1 = front.url("");
    case.run().failed(&["weights/me--small/tokenizer.json cannot be fetched", "7 bytes"]);
    let there = files_below(&case.path("weights/me--small"));
    let is_work = |path: &Path| path == Path::new(".lock") || path.starts_with("fetch.part");
    assert!(there.keys().all(|path| is_work(path)), "{:?}", there.keys());
    // The verified files are not fetched again.
    let sent = hub.sent().len();
    case.environment[0].1 = hub.server.url("");
    case.run().succeeded();
    let again = &hub.sent()[sent..];
    assert_eq!(again.len(), WANTED.len() - 2, "{again:?}");
    assert!(!again.iter().any(|path| path.ends_with("config.json")), "{again:?}");
    assert_fetched(&case.path("weights/me--small"), &WANTED, &repository());
}

#[test]
fn cache_of_the_hub_is_used_first_and_alone_when_offline() {
    let hub = Hub::start(repository(), Access::Public);
    let mut case = hub.case("me/small");
    case.arguments.push("--offline".to_owned());
    refused(
        &case,
        case.run(),
        &["me/small@main is not in the cache", "HF_HUB_OFFLINE or --offline"],
    );

    // The layout of Hugging Face's own tools: links to files named by checksum.
    let cache = case.path("home/.cache/huggingface/hub/models--me--small");
    let snapshot = cache.join("snapshots").join(COMMIT);
    for folder in [&cache.join("blobs"), &cache.join("refs"), &snapshot] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(cache.join("refs/main"), COMMIT).unwrap();
    for (name, content) in repository() {
        let sum = if is_large(&name) { sha256(&content) } else { git_blob(&content) };
        fs::write(cache.join("blobs").join(&sum), content).unwrap();
        symlink(cache.join("blobs").join(&sum), snapshot.join(name)).unwrap();
    }
    case.run().succeeded();
    assert_fetched(&case.path("weights/me--small"), &WANTED, &repository());
    assert!(hub.server.seen().is_empty());

    // With the hub at hand, the listing is its own.
    fs::remove_dir_all(case.path("weights")).unwrap();
    case.arguments.pop();
    case.run().succeeded();
    assert_fetched(&case.path("weights/me--small"), &WANTED, &repository());
    assert_eq!(hub.sent(), [""; 0]);
    let weights = cache.join("blobs").join(sha256(&repository()["model.safetensors"]));
    fs::write(weights, "damaged").unwrap();
    fs::remove_dir_all(case.path("weights")).unwrap();
    assert!(case.run().succeeded().stderr().contains("is of no use"));
    assert_fetched(&case.path("weights/me--small"), &WANTED, &repository());
}

#[test]
fn dry_run_lists_what_would_be_fetched() {
    let hub = Hub::start(repository(), Access::Public);
    let mut case = hub.case("me/small");
    case.arguments.push("--dry-run".to_owned());
    let stdout = case.run().succeeded().stdout();
    for name in WANTED {
        let url = hub.server.url(&format!("/me/small/resolve/{COMMIT}/{name}"));
        assert!(stdout.contains(&format!("weights/me--small/{name}: would be fetched from {url}")));
    }
    assert_eq!(stdout.lines().count(), WANTED.len());
    assert_eq!(hub.sent(), [""; 0]);
    assert!(!case.path("weights").exists());
}

#[test]
fn record_with_paths_is_refused() {
    let hub = Hub::start(repository(), Access::Public);
    let mut case = hub.case("me/small");
    case.run().succeeded();
    let record = case.path("weights/me--small/fetched.json");
    let mut content = read_json(&record);
    let evil = case.path("evil");
    fs::write(&evil, "keep").unwrap();
    content["files"]["../../evil"] = json!({"size": 4, "sha256": sha256(b"keep")});
    fs::write(&record, content.to_string()).unwrap();
    case.arguments.push("--force".to_owned());
    case.run().failed(&["fetched.json is not the record of a fetched checkpoint", "../../evil"]);
    assert!(evil.exists());
}

#[test]
fn answers_of_the_api_are_not_trusted() {
    let about = format!("{{\"sha\": \"{COMMIT}\"}}");
    let (revision, tree) = ("/revision/", "/tree/");
    type Answer = fn(&Request) -> Reply;
    let busy: Answer = |_| Reply::status(503).with("Retry-After", "0");
    let page: Answer = |request| Reply::file(b"<html>Log in", request);
    let endless: Answer = |request| Reply::file(&[b' '; 1 << 16], request).endless();
    let cases: [(&str, Answer, &[&str]); 7] = [
        (revision, busy, &["/me/small cannot be read", "HF_ENDPOINT", "5 attempts", "answers 503"]),
        (revision, page, &["does not answer as a hub"]),
        (
            revision,
            |request| Reply::file(b"{\"sha\": \"../..\"}", request),
            &["the commit of me/small@main"],
        ),
        (revision, endless, &["does not answer as a hub", "larger than request limit"]),
        (tree, page, &["does not answer as a hub"]),
        (
            tree,
            |request| Reply::file(b"[]", request).with("Link", "<?cursor=x>; rel=\"next\""),
            &["expected a listing of 100 pages or fewer"],
        ),
        (
            tree,
            |request| Reply::file(b"[{\"type\": \"file\", \"path\": \"../config.json\"}]", request),
            &["me/small has no config.json"],
        ),
    ];
    for (part, faulty, words) in cases {
        let about = about.clone();
        let server = Server::start(move |request| match request.path.contains(part) {
            true => faulty(request),
            false => Reply::file(about.as_bytes(), request),
        });
        let mut case = checkpoint();
        case.arguments[1] = "me/small".to_owned();
        case.environment = vec![("HF_ENDPOINT".to_owned(), server.url(""))];
        refused(&case, case.run(), words);
    }
}
