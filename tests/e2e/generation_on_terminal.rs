//! Generated text on a terminal.

use std::fs;

use test_support::{OnTerminal, pocket, read_json, run};

fn arguments(model: &str, more: &[&str]) -> Vec<String> {
    let all = ["generate", "--device=cpu", "--threads=1", "--prompt=I will call", "--model", model];
    all.iter().chain(more).map(|it| (*it).to_owned()).collect()
}

#[test]
fn text_is_shown_while_it_is_generated() {
    let model = pocket().display().to_string();
    let arguments = arguments(&model, &["--max-new-tokens=200", "--repetition-penalty=1.1"]);
    let expected = run("gpt2-lora", &arguments).succeeded().stdout();
    assert!(expected.len() > 200, "{expected}");
    let mut terminal = OnTerminal::start("gpt2-lora", &arguments);
    terminal.wait_until(|screen| screen.len() > "I will call".len() + 5);
    assert!(terminal.is_running(), "the text was shown at the end only");
    let (status, screen) = terminal.finish();
    assert!(status.success(), "{status}");
    assert_eq!(screen, expected.replace('\n', "\r\n"));
}

#[test]
fn interrupted_text_ends_with_a_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = read_json(&pocket().join("config.json"));
    config["n_positions"] = 8192.into();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let model = folder.path().display().to_string();
    let arguments = arguments(&model, &["--max-new-tokens=8000", "--random-init"]);
    let mut terminal = OnTerminal::start("gpt2-lora", arguments);
    terminal.wait_until(|screen| screen.len() > "I will call".len() + 5);
    terminal.press(b"\x03");
    let (status, screen) = terminal.finish();
    assert_eq!(status.code(), Some(130), "{screen}");
    assert!(screen.starts_with("I will call") && screen.ends_with("\r\n"), "{screen:?}");
    // The terminal shows the key.
    let (_, last) = screen.split_once("^C").unwrap();
    for word in ["error", "panicked", "backtrace"] {
        assert!(!last.contains(word), "{screen:?}");
    }
}
