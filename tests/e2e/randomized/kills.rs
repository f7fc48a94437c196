//! Runs killed at random moments.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::json;
use test_support::{Random, assert_same_results, binary, counted, fixture, run, seed};

use crate::resume::{arguments, assert_complete};

/// Kills of one seed.
const KILLS: usize = 6;

/// Asserts that a run of `trainer` that is killed and resumed again and again writes the bytes of a
/// run that is not, and returns the number of kills. `arguments` are the arguments of a run with
/// this output folder and more options.
fn kill_and_compare(folder: &Path, arguments: &dyn Fn(&Path, &str) -> Vec<String>) -> usize {
    let whole = folder.join("whole");
    run("trainer", arguments(&whole, "")).succeeded();
    let mut random = Random::new(seed());
    let (mut kills, mut runs) = (0, 0);
    // On a fast machine a run may end before it was killed often enough; then another begins.
    while kills < KILLS {
        runs += 1;
        let out = folder.join(format!("killed-{runs}"));
        loop {
            let resume = if out.join("checkpoints").exists() { "--resume" } else { "" };
            let mut child = Command::new(binary("trainer"))
                .args(arguments(&out, resume))
                .env("OMP_NUM_THREADS", "1")
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            if kills < KILLS {
                // From before it has read its data to well into training and writing.
                thread::sleep(Duration::from_millis(20 + random.below(900) as u64));
                child.kill().unwrap();
            }
            let ended = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(!stderr.contains("error: "), "{stderr}");
            assert_complete(&out);
            let success = ended.status.success();
            kills += usize::from(!success);
            // It may be killed when everything is written and only the exit is left.
            let finished = out.join("report.json").exists() && !out.join("checkpoints").exists();
            if success || finished {
                break;
            }
        }
        assert_same_results(&whole, &out);
    }
    kills
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn kills_at_random_moments_change_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let fixed = format!("--epochs 12 --checkpoint-every 3 --seed {}", seed() % 1000);
    let arguments = |out: &Path, options: &str| arguments(out, &format!("{fixed} {options}"));
    counted(kill_and_compare(folder.path(), &arguments), "kills at random moments");
}

/// Conversations of a question and one or two answers, and a chat template that raises errors.
fn write_conversations(folder: &Path) {
    let conversation = |number: usize| {
        let message = |role: &str, content: String| json!({"role": role, "content": content});
        let mut messages = vec![
            message("user", format!("{number}. How deep is the sea?")),
            message("assistant", format!("{} fathoms", number * 7)),
        ];
        if number.is_multiple_of(3) {
            messages.push(message("user", "And the lake?".to_owned()));
            messages.push(message("assistant", "Less ".repeat(1 + number % 5)));
        }
        format!("{}\n", json!({ "messages": messages }))
    };
    fs::write(folder.join("chats.jsonl"), (0..60).map(conversation).collect::<String>()).unwrap();
    let template = "{% for message in messages %}\
                    {% if message.role not in ['user', 'assistant'] %}\
                    {{ raise_exception('unknown role ' + message.role) }}{% endif %}\
                    {{ '[' + message.role + '] ' + message.content }}\
                    {% if message.role == 'assistant' %}{{ eos_token }}{% endif %}\
                    {{ '\\n' }}{% endfor %}\
                    {% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}";
    fs::write(folder.join("chat.jinja"), template).unwrap();
}

/// Packed conversations with a chat template, of which the answers are learned, with generated samples
/// and all random draws of a run.
#[test]
#[ignore = "run by cargo xtask soak"]
fn kills_of_language_models_change_no_result() {
    let folder = tempfile::tempdir().unwrap();
    write_conversations(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (model, data, template) =
        (fixture("tiny").display().to_string(), path("chats.jsonl"), path("chat.jinja"));
    let arguments = |out: &Path, options: &str| -> Vec<String> {
        let out = out.display().to_string();
        let paths = ["--model", &model, "--data", &data, "--chat-template", &template];
        let fixed = format!(
            "--task language-model --rank 2 --lr 0.004 --batch-size 4 --epochs 12 --threads 1 \
             --lora-dropout 0.1 --keep best --gradient-accumulation-steps 2 --eval-every 10 \
             --eval-batches 2 --sample-every 25 --checkpoint-every 3 --seed {} {options}",
            seed() % 1000
        );
        let paths = paths.into_iter().chain(["--out", &out]).map(String::from);
        paths.chain(fixed.split_whitespace().map(String::from)).collect()
    };
    let kills = kill_and_compare(folder.path(), &arguments);
    counted(kills, "kills of language models at random moments");
}
