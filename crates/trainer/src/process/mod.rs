//! Process-wide settings: signals, panic message, instruction set, standard output.

mod panic_message;
mod peak_memory;
mod settings;
mod signals;
mod standard_output;

use std::{
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
};

use clap::{Command, Error, Parser};

pub use peak_memory::peak_memory;
pub use settings::{prepare_process, release_free_memory};
pub use signals::end_line_on_interrupt;
pub(crate) use signals::stop_on_signals;
pub use standard_output::{StandardOutput, is_broken_pipe};

/// Exit codes of an error and, as in Rust, of a panic.
const FAILED: i32 = 1;
const PANICKED: i32 = 101;

/// Parses the command line, runs the work of a binary and ends the process: an error, which is
/// a sentence, is printed to standard error and the exit code is 1; a panic is printed as one
/// sentence, with a backtrace only if `RUST_BACKTRACE` asks for one, and the exit code is 101.
///
/// To be called once, by `main`: it sets the panic hook and ignores SIGXFSZ. libtorch's exit
/// handlers are skipped: they take as long as a third of a short command.
pub fn run_main<P: Parser>(work: impl FnOnce(P) -> Result<(), String>) -> ! {
    panic_message::install();
    signals::ignore_file_size_signal();
    let code = match parse::<P>() {
        Ok(arguments) => exit_code(|| work(arguments)),
        Err(error) => {
            // Help, the version or an error. The reader may have gone away.
            let _ = error.print();
            error.exit_code()
        }
    };
    let _ = io::stdout().flush();
    signals::end_at_once(code)
}

/// Parses the command line. A negative number is a value, whose range the program checks, and not an
/// option.
fn parse<P: Parser>() -> Result<P, Error> {
    let mut matches = with_negative_numbers(P::command()).try_get_matches()?;
    P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut P::command()))
}

fn with_negative_numbers(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let takes_values = argument.get_action().takes_values();
        argument.allow_negative_numbers(takes_values)
    });
    command.mut_subcommands(with_negative_numbers)
}

fn exit_code(work: impl FnOnce() -> Result<(), String>) -> i32 {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => 0,
        Ok(Err(sentence)) => {
            // `eprintln!` would panic if standard error is closed.
            let _ = writeln!(io::stderr(), "error: {}", storage::terminal_safe(&sentence));
            FAILED
        }
        Err(_) => PANICKED,
    }
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use super::*;

    /// Child process of the next test.
    #[test]
    #[ignore = "panics; started by the next test"]
    fn panicking_main() {
        panic_message::install();
        assert_eq!(exit_code(|| panic!("seven is not eight\nframe #0")), PANICKED);
    }

    #[test]
    fn panic_is_one_sentence_and_a_backtrace_only_on_request() {
        for (requested, backtrace) in [(None, false), (Some("0"), false), (Some("1"), true)] {
            let mut child = process::Command::new(env::current_exe().unwrap());
            child.args(["--ignored", "--exact", "process::tests::panicking_main"]);
            child.env_remove("RUST_BACKTRACE");
            child.envs(requested.map(|value| ("RUST_BACKTRACE", value)));
            let output = child.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let stderr = String::from_utf8(output.stderr).unwrap();
            let sentence = stderr.lines().next().unwrap_or_default();
            let begin = "error: internal error at crates/trainer/src/process/mod.rs:";
            assert!(sentence.starts_with(begin), "{stderr}");
            assert!(sentence.contains(": seven is not eight; please report it"), "{stderr}");
            assert_eq!(stderr.lines().count() > 1, backtrace, "{stderr}");
            assert!(!stderr.contains("panicked"), "{stderr}");
        }
    }
}
