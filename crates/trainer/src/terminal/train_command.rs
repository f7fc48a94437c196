//! Training as a command: what both binaries do with the same arguments.

use std::{
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Serialize;

use crate::{
    config::args::TrainArgs,
    config::file::RESOLVED_FILE,
    config::settings::RunConfig,
    error::{Error, Result},
    process::settings::{end_at_once, prepare_process},
    reports::run_report::Report,
    run::phases::{Control, run_with},
    run::seeds::{SeedsReport, run_seeds},
    terminal::console::{Console, ShowModel},
    training::observer::Observer,
};

/// The exit code after a second Ctrl-C, as shells have it.
const INTERRUPTED: i32 = 130;

/// Examples for the help of the command.
pub const TRAIN_EXAMPLES: &str = "\
Examples:
  the spam recipe on GPT-2 124M:          (no options)
  the book's run:                         --recipe book --out runs/book
  rank 8 on queries and values only:      --rank 8 --target-modules q,v
  how much is chance:                     --seeds 1,2,3,4,5
  another base, other messages:           --model DIR --data FILE --seed 7
  on, after Ctrl-C or a crash:            --config runs/x/run.toml --out runs/x --resume";

/// Runs what the arguments say, shows it on standard error, and prints the
/// report to standard output. Ctrl-C and a request to terminate end the run after a
/// checkpoint and say how to go on, a second one ends it at once.
///
/// To be called by a program that has neither started a thread nor computed with
/// libtorch: with [`Arithmetic::Stepwise`](gpt2_model::Arithmetic::Stepwise) it
/// may set `ATEN_CPU_CAPABILITY` in the environment.
///
/// # Errors
/// Whatever is wrong, in one sentence.
pub fn train(args: &TrainArgs) -> Result<()> {
    let args = args.with_file()?;
    let config = args.resolve()?;
    prepare_process(config.arithmetic);
    let show_model = match (args.print_model, args.json) {
        (false, _) => ShowModel::No,
        (true, false) => ShowModel::Stdout,
        (true, true) => ShowModel::Stderr,
    };
    let mut console = Console::new(show_model);
    if let Some((file, _)) = args.suggested(&config.model)? {
        console.notice(&format!("defaults are what {} suggests", file.display()));
    }
    let control = Control { resume: args.resume, stop: stop_on_signals()? };
    let done = if args.seeds.is_empty() {
        let report = run_with(&config, &control, &mut console);
        report.and_then(|report| print(&report, args.json, Report::to_table))
    } else {
        let report = run_seeds(&config, &args.seeds, &control, &mut console);
        report.and_then(|report| print(&report, args.json, SeedsReport::to_table))
    };
    if done.is_err() && args.out.is_none() {
        // A folder that was made for the run alone; refused if something is in it.
        let _ = std::fs::remove_dir(&config.out);
    }
    if let Err(Error::Interrupted { .. }) = &done {
        console.notice(&format!("go on with: {}", resuming(&config, &args.seeds)));
    }
    done
}

/// The command that goes on with a run.
fn resuming(config: &RunConfig, seeds: &[u32]) -> String {
    let mut options = vec!["--config".to_owned(), quoted(&config.out.join(RESOLVED_FILE))];
    if let Some(first) = seeds.first() {
        let all: Vec<String> = seeds.iter().map(u32::to_string).collect();
        options[1] = quoted(&config.out.join(format!("seed-{first}")).join(RESOLVED_FILE));
        options.extend(["--seeds".to_owned(), all.join(",")]);
    }
    options.extend(["--out".to_owned(), quoted(&config.out), "--resume".to_owned()]);
    format!("gpt2-lora train {}", options.join(" "))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    shell_word(&path.display().to_string())
}

/// A word as a shell takes it; with control characters as bash, ksh and zsh do.
pub(crate) fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-=,".contains(c);
    if word.chars().any(char::is_control) {
        let escaped = |c: char| match c {
            '\'' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", c as u32),
            c => c.to_string(),
        };
        return format!("$'{}'", word.chars().map(escaped).collect::<String>());
    }
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A flag that Ctrl-C and a request to terminate set; a second one ends the program
/// at once.
pub(crate) fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            end_at_once(INTERRUPTED);
        }
    })
    .map_err(|error| Error::Config(format!("signals cannot be handled: {error}")))?;
    Ok(stop)
}

/// Prints a report to standard output, as JSON or as a table.
pub(crate) fn print<T: Serialize>(
    report: &T,
    as_json: bool,
    table: fn(&T) -> String,
) -> Result<()> {
    let text = if as_json {
        let json = serde_json::to_string_pretty(report)
            .map_err(|error| Error::Config(format!("the report cannot be printed: {error}")))?;
        json + "\n"
    } else {
        table(report)
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|source| Error::Write { path: "standard output".into(), source })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_the_word_that_was_meant() {
        for word in ["runs/a-1", "two words", "it's", "$HOME `x` \"y\" \\", "", "a\nb\tc'd\\e"] {
            let shell = if word.contains('\n') { "bash" } else { "sh" };
            let script = format!("printf %s {}", shell_word(word));
            let output = Command::new(shell).args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word, "{script}");
        }
    }
}
