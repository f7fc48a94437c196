//! What a program does around its work, so that whatever happens ends in one sentence
//! and an exit code: an error, a mistake of the program itself, and an end that C++ or
//! the want of memory forces on it.

use std::{
    backtrace::Backtrace,
    env,
    io::{self, Write},
    panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind},
    process::ExitCode,
};

/// The exit code after a panic, as Rust has it.
const PANICKED: u8 = 101;

/// What a person can do about a mistake of the program.
const REPORT: &str = "please report it with the command and these words (RUST_BACKTRACE=1 adds \
    more). Files that have their name are whole, and a run goes on from its last checkpoint with \
    --resume";

/// Does the work of a program. An error, which is a sentence, is said on standard error
/// and the exit code is 1; so is a panic, with 101 and without a stack, unless
/// `RUST_BACKTRACE` asks for one.
///
/// To be called by `main`, once. It sets the panic hook and, on Unix, what happens on
/// SIGABRT and where nobody catches an exception of C++.
pub fn program(work: impl FnOnce() -> Result<(), String>) -> ExitCode {
    panic::set_hook(Box::new(say_panic));
    #[cfg(unix)]
    {
        crate::process::memory::speak_when_forced(wants_backtrace());
        crate::process::settings::outlive_file_limits();
    }
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(sentence)) => {
            // `eprintln!` would panic where nobody reads any more.
            let _ = writeln!(io::stderr(), "error: {}", gpt2_model::plain(&sentence));
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::from(PANICKED),
    }
}

fn say_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (None, Some(message)) => message.as_str(),
        (None, None) => "no message",
    };
    let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
    let place = place.unwrap_or_else(|| "an unknown place".to_owned());
    let _ = writeln!(io::stderr(), "error: {}", sentence(message, &place));
    if wants_backtrace() {
        let _ = writeln!(io::stderr(), "{}", Backtrace::force_capture());
    }
}

fn wants_backtrace() -> bool {
    env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0")
}

/// What is said of a panic. An error of libtorch brings its C++ stack, with line ends
/// that are spelled out where it was formatted for debugging: its first line is enough.
fn sentence(message: &str, place: &str) -> String {
    let lines = message.split(['\n', '\r']).flat_map(|line| line.split("\\n"));
    let first = lines.map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message");
    format!("this is a mistake of the program, at {place}: {first}; {REPORT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_panic_one_line_is_said() {
        let cpp = r#"called `Result::unwrap()` on an `Err` value: Torch("shapes differ\nException raised from x.cpp:7\nframe #0: c10::Error")"#;
        for (message, kept) in
            [(cpp, "Torch(\"shapes differ;"), ("a\nb", ": a;"), ("", "no message;")]
        {
            let said = sentence(message, "src/x.rs:7");
            assert!(said.contains(kept) && said.contains("at src/x.rs:7: "), "{said}");
            assert!(said.contains("please report it") && said.contains("--resume"), "{said}");
            assert!(!said.contains('\n') && !said.contains("frame #0"), "{said}");
        }
    }

    /// The other half of the test below: its process is looked at from outside.
    #[test]
    #[ignore = "panics; started by the test below"]
    fn a_program_with_a_mistake() {
        let code = program(|| panic!("seven is not eight\nframe #0"));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(PANICKED)));
    }

    #[test]
    fn a_panic_is_one_sentence_and_a_stack_only_if_asked_for() {
        let name = "process::program::tests::a_program_with_a_mistake";
        for (asked, stack) in [(None, false), (Some("0"), false), (Some("1"), true)] {
            let mut child = std::process::Command::new(env::current_exe().unwrap());
            child.args(["--ignored", "--exact", name]).env_remove("RUST_BACKTRACE");
            child.envs(asked.map(|asked| ("RUST_BACKTRACE", asked)));
            let output = child.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let stderr = String::from_utf8(output.stderr).unwrap();
            let sentence = stderr.lines().next().unwrap_or_default();
            let begin = "error: this is a mistake of the program, at crates/trainer/src/process/program.rs:";
            assert!(sentence.starts_with(begin), "{stderr}");
            assert!(sentence.contains(": seven is not eight; please report it"), "{stderr}");
            assert_eq!(stderr.lines().count() > 1, stack, "{stderr}");
            assert!(!stderr.contains("panicked"), "{stderr}");
        }
    }
}
