//! What is said where the program itself is wrong.

use std::{env, panic};

/// From now on a panic is one sentence on standard error, with the exit code 101 that
/// Rust gives it; `RUST_BACKTRACE` adds the stack.
pub fn say_in_one_sentence() {
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let message = payload.downcast_ref::<String>().map(String::as_str);
        let message = message.or(payload.downcast_ref::<&str>().copied()).unwrap_or_default();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        say!("error: {}", sentence(message, &place));
        if env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            say!("{}", std::backtrace::Backtrace::force_capture());
        }
    }));
}

fn sentence(message: &str, place: &str) -> String {
    let first = message.lines().next().unwrap_or("no message");
    format!(
        "this is a mistake of the program, at {place}: {first}; please report it with the command \
         and these words. Files that have their name are whole, and the same command goes on"
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The other half of the test below: its process is looked at from outside.
    #[test]
    #[ignore = "panics; started by the test below"]
    fn a_task_with_a_mistake() {
        say_in_one_sentence();
        panic!("seven is not {}\nat all", 8);
    }

    #[test]
    fn a_panic_is_one_sentence() {
        let name = "mistake::tests::a_task_with_a_mistake";
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "--nocapture", name]).env_remove("RUST_BACKTRACE");
        let output = child.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("error: this is a mistake of the program, at "), "{stderr}");
        assert!(stderr.contains("mistake.rs") && stderr.contains(": seven is not 8; please"));
    }
}
