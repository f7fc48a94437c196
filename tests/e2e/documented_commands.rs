//! Commands in the README, in CONTRIBUTING and in `docs/`, run as a reader runs them.
//!
//! GPT-2 124M and the SMS Spam Collection are replaced by the pocket model and some of the
//! sample messages, and training takes two steps.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use test_support::{binary, pocket, workspace};

/// Options added to a training command, so that it takes seconds.
const SHORT: [&str; 6] = ["--steps", "2", "--eval-batches", "1", "--max-length", "16"];

/// Commands of `sh` blocks that are not run, by their first words, and the reason. The tasks of
/// `cargo xtask`, which download, measure or test, are parsed.
const NOT_RUN: [(&str, &str); 6] = [
    ("cargo build --workspace", "this test builds the programs"),
    ("cargo test -p e2e-tests --test e2e -- --ignored", "takes an hour"),
    ("cargo bench", "measures for minutes"),
    ("cargo +nightly fuzz", "needs a nightly Rust, and fuzzes for minutes"),
    ("torchrun", "needs torchrun; `tests/e2e/launchers.rs` runs it"),
    ("mpirun", "needs mpirun; `tests/e2e/launchers.rs` runs it"),
];

/// Programs of `python` blocks by page and line, and the test that runs them.
const PYTHON: [(&str, &str, &str); 2] = [
    ("README.md", "from peft import PeftModel", "programs_for_peft_and_transformers"),
    ("README.md", "from transformers import pipeline", "programs_for_peft_and_transformers"),
];

/// Languages of blocks that are not commands: `tests/external` builds the Rust programs.
const OTHER_LANGUAGES: [&str; 3] = ["rust", "toml", "text"];

#[test]
fn documented_commands_succeed_on_the_pocket_model() {
    let folder = project();
    let (mut run, mut parsed, mut not_run) = (0, 0, [0; NOT_RUN.len()]);
    for page in pages() {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            let words = shlex::split(&command).unwrap_or_else(|| panic!("{command}"));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let words: Vec<&str> = words.into_iter().skip_while(|w| is_variable(w)).collect();
            match words.as_slice() {
                ["cargo", "xtask", task @ ..] => {
                    is_valid(&folder, "xtask", task, &command);
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
                _ => {
                    let starts = |(first, _): &(&str, &str)| words.join(" ").starts_with(first);
                    let place = NOT_RUN.iter().position(starts);
                    not_run[place.unwrap_or_else(|| panic!("{command}"))] += 1;
                }
            }
        }
    }
    println!("{run} commands run, {parsed} parsed, {not_run:?} listed as not run");
    assert!(run >= 8 && parsed >= 8, "{run} commands run, {parsed} parsed");
    assert!(not_run.iter().all(|&count| count > 0), "{not_run:?}");
}

/// Commands in the text have valid options.
#[test]
fn commands_in_the_text_are_valid() {
    let folder = project();
    let mut parsed = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let prose: String = text.split("```").step_by(2).collect();
        for command in prose.split('`').skip(1).step_by(2).filter(|code| !code.contains('…')) {
            let words: Vec<&str> =
                command.split_whitespace().skip_while(|w| is_variable(w)).collect();
            match words.as_slice() {
                ["cargo", "xtask", task @ ..] => is_valid(&folder, "xtask", task, command),
                ["cargo", "run", "-p", "trainer", rest @ ..] => {
                    is_valid(&folder, "trainer", options(rest), command);
                }
                ["cargo", "run", "-p", "cli", "--", rest @ ..] | ["gpt2-lora", rest @ ..] => {
                    is_valid(&folder, "gpt2-lora", rest, command);
                }
                _ => continue,
            }
            parsed += 1;
        }
    }
    println!("{parsed} commands parsed");
    assert!(parsed >= 15, "{parsed} commands parsed");
}

/// Every block is a command, a Python program that a test runs, or in another language.
#[test]
fn every_block_of_code_is_tested_or_listed() {
    let mut programs = [0; PYTHON.len()];
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```").skip(1).step_by(2) {
            let (language, code) = block.split_once('\n').unwrap();
            if language == "python" {
                let is_listed = |(name, line, _): &(&str, &str, &str)| {
                    page.ends_with(name) && code.lines().any(|other| other == *line)
                };
                let place = PYTHON.iter().position(is_listed);
                programs[place.unwrap_or_else(|| panic!("{}: {code}", page.display()))] += 1;
            } else {
                let is_known = language == "sh" || OTHER_LANGUAGES.contains(&language);
                assert!(is_known, "{}: {language:?}", page.display());
            }
        }
    }
    assert!(programs.iter().all(|&count| count == 1), "{programs:?}");
    let tests = workspace().join("crates/trainer/tests/suite/exchange.rs");
    let tests = fs::read_to_string(tests).unwrap();
    for (_, _, test) in PYTHON {
        assert!(tests.contains(&format!("fn {test}")), "{test}");
    }
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
    let answer = |number: usize| {
        let completion = format!(" {}", number * number);
        serde_json::json!({"prompt": format!("{number}² ="), "completion": completion}).to_string()
    };
    fs::write(at("answers.jsonl"), (0..40).map(answer).collect::<Vec<_>>().join("\n")).unwrap();
    fs::write(at("text.txt"), sample.replace('\t', "\n\n")).unwrap();
    fs::write(at("prompts.jsonl"), "{\"prompt\": \"See you\"}\n").unwrap();
    folder
}

/// Pages whose commands a reader runs.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(workspace().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> =
        docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.sort();
    pages.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|n| workspace().join(n)));
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

/// Asserts that a program knows the options before `--help`.
fn is_valid(folder: &TempDir, program: &str, words: &[&str], command: &str) {
    succeeds(folder, program, &[words, &["--help"]].concat(), command);
}

fn succeeds(folder: &TempDir, program: &str, words: &[&str], command: &str) {
    let output = Command::new(binary(program))
        .args(words)
        .current_dir(folder.path())
        .env("OMP_NUM_THREADS", "1")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Links between the pages lead to files and headings.
#[test]
fn links_of_the_documentation_lead_to_files_and_headings() {
    let (mut links, mut headings) = (0, 0);
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            if target.contains("://") {
                continue;
            }
            let path = match file {
                "" => page.clone(),
                _ => page.parent().unwrap_or(Path::new("")).join(file),
            };
            assert!(path.exists(), "{}: {target}", page.display());
            links += 1;
            if !heading.is_empty() {
                let found = anchors(&fs::read_to_string(path).unwrap());
                assert!(found.iter().any(|anchor| anchor == heading), "{target}: {found:?}");
                headings += 1;
            }
        }
    }
    assert!(links > 10 && headings > 5, "{links} links, {headings} to headings");
}

/// Anchors that GitHub gives to the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        text.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}
