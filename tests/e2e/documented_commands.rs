//! Commands in the README and in `docs/`, run as a reader runs them.
//!
//! GPT-2 124M and the SMS Spam Collection are replaced by the pocket model and some of the
//! sample messages, and training takes two steps.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use tempfile::TempDir;
use test_support::{binary, pocket, workspace};

/// Options added to a training command, so that it takes seconds.
const SHORT: [&str; 6] = ["--steps", "2", "--eval-batches", "1", "--max-length", "16"];

/// Programs that other tests run, or that need the network or Python.
const NOT_RUN: [&str; 6] =
    ["cargo test", "cargo bench", "cargo doc", "cargo +nightly", "python3 ", "git "];

#[test]
fn documented_commands_succeed_on_the_pocket_model() {
    let folder = project();
    let (mut run, mut parsed) = (0, 0);
    for page in pages() {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            let words = shlex::split(&command).unwrap_or_else(|| panic!("{command}"));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let words: Vec<&str> = words.into_iter().skip_while(|w| is_variable(w)).collect();
            match words.as_slice() {
                ["cargo", "xtask", task @ ..] => {
                    // Whatever stands before `--help` has to be a valid option.
                    succeeds(&folder, "xtask", &[task, &["--help"]].concat(), &command);
                    parsed += 1;
                }
                ["cargo", "run", "-p", "trainer", rest @ ..] => {
                    train(&folder, &[&["train"], options(rest)].concat(), &command);
                    run += 1;
                }
                ["cargo", "run", "-p", "cli", "--", rest @ ..] | ["gpt2-lora", rest @ ..] => {
                    match rest[0] {
                        "train" | "pretrain" => train(&folder, rest, &command),
                        _ => succeeds(&folder, "gpt2-lora", rest, &command),
                    }
                    run += 1;
                }
                _ => assert!(
                    NOT_RUN.iter().any(|other| words.join(" ").starts_with(other)),
                    "{command}"
                ),
            }
        }
    }
    println!("{run} commands run, {parsed} parsed");
    assert!(run >= 8 && parsed >= 5, "{run} commands run, {parsed} parsed");
}

/// A project folder with everything that the documented commands name.
fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("weights")).unwrap();
    fs::create_dir_all(at("datasets/sms-spam")).unwrap();
    symlink(pocket(), at("weights/pocket")).unwrap();
    symlink(pocket(), at("weights/gpt2")).unwrap();
    symlink(workspace().join("datasets/sample"), at("datasets/sample")).unwrap();
    let sample = fs::read_to_string(at("datasets/sample/messages.tsv")).unwrap();
    let messages: Vec<(&str, &str)> =
        sample.lines().take(60).map(|line| line.split_once('\t').unwrap()).collect();
    let table = |separator: &str| -> String {
        messages.iter().map(|(label, text)| format!("{label}{separator}{text}\n")).collect()
    };
    fs::write(at("datasets/sms-spam/SMSSpamCollection"), table("\t")).unwrap();
    let json = |text: &str, label: &str| -> String {
        let object = |(l, t): &(&str, &str)| serde_json::json!({text: t, label: l}).to_string();
        messages.iter().map(object).collect::<Vec<_>>().join("\n")
    };
    fs::write(at("news.jsonl"), json("headline", "topic")).unwrap();
    let csv = |header: &str| -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let lines = messages.iter().map(|(label, text)| format!("{},{label}\n", quoted(text)));
        header.to_owned() + &lines.collect::<String>()
    };
    fs::write(at("mails.csv"), csv("body,folder\n")).unwrap();
    fs::write(at("new.csv"), csv("text,label\n")).unwrap();
    fs::write(at("text.txt"), sample.replace('\t', "\n\n")).unwrap();
    folder
}

/// The pages whose commands a reader runs.
fn pages() -> Vec<std::path::PathBuf> {
    let docs = fs::read_dir(workspace().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> =
        docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.sort();
    pages.insert(0, workspace().join("README.md"));
    pages
}

/// Commands of the `sh` blocks of a page, without comments.
fn commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut in_block = false;
    let page = page.replace("\\\n", " ");
    for line in page.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            in_block = line == "```sh";
        } else if in_block && !line.is_empty() && !line.starts_with('#') {
            commands.push(line.split(" # ").next().unwrap().trim().to_owned());
        }
    }
    commands
}

fn is_variable(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
}

fn options<'a>(words: &'a [&'a str]) -> &'a [&'a str] {
    words.strip_prefix(&["--"]).unwrap_or(words)
}

fn train(folder: &TempDir, words: &[&str], command: &str) {
    let mut words = words.to_vec();
    if let Some(epochs) = words.iter().position(|word| *word == "--epochs") {
        words.drain(epochs..epochs + 2);
    }
    succeeds(folder, "gpt2-lora", &[&words[..], &SHORT].concat(), command);
}

fn succeeds(folder: &TempDir, program: &str, words: &[&str], command: &str) {
    let output = Command::new(binary(program))
        .args(words)
        .current_dir(folder.path())
        .env("OMP_NUM_THREADS", "1")
        .env("GOMP_SPINCOUNT", "20000")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Links between the pages lead to files.
#[test]
fn links_of_the_documentation_lead_to_files() {
    let mut links = 0;
    let others = ["ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| workspace().join(name));
    for page in pages().into_iter().chain(others) {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                let path = page.parent().unwrap_or(Path::new("")).join(file);
                assert!(path.exists(), "{}: {target}", page.display());
                links += 1;
            }
        }
    }
    assert!(links > 10, "{links} links");
}
