//! Message of a panic: one sentence instead of Rust's.

use std::{
    backtrace::Backtrace,
    env,
    io::{self, Write},
    panic::{self, PanicHookInfo},
};

/// Advice after an internal error.
const REPORT: &str = "please report it with the command and this message (RUST_BACKTRACE=1 adds \
    more). Result files are complete, and --resume continues from the last checkpoint";

/// Sets the panic hook of the process.
pub(super) fn install() {
    panic::set_hook(Box::new(print));
}

fn print(info: &PanicHookInfo<'_>) {
    if dataset::catches_panics() {
        return;
    }
    let payload = info.payload();
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (None, Some(message)) => message.as_str(),
        (None, None) => "no message",
    };
    let location = match info.location() {
        Some(location) => format!("{}:{}", location.file(), location.line()),
        None => "an unknown location".to_owned(),
    };
    let _ = writeln!(io::stderr(), "error: {}", sentence(message, &location));
    if env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        let _ = writeln!(io::stderr(), "{}", Backtrace::force_capture());
    }
}

/// Returns the sentence for a panic message. A libtorch error brings its C++ stack, whose
/// line ends are escaped if it was formatted with `Debug`: the first line is enough.
fn sentence(message: &str, location: &str) -> String {
    let lines = message.split(['\n', '\r']).flat_map(|line| line.split("\\n"));
    let first = lines.map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message");
    format!("internal error at {location}: {first}; {REPORT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_of_a_panic_is_kept() {
        let cpp = r#"called `Result::unwrap()` on an `Err` value: Torch("shapes differ\nException raised from x.cpp:7\nframe #0: c10::Error")"#;
        for (message, kept) in
            [(cpp, "Torch(\"shapes differ;"), ("a\nb", ": a;"), ("", "no message;")]
        {
            let text = sentence(message, "src/x.rs:7");
            assert!(text.contains(kept) && text.contains("at src/x.rs:7: "), "{text}");
            assert!(text.contains("please report it") && text.contains("--resume"), "{text}");
            assert!(!text.contains('\n') && !text.contains("frame #0"), "{text}");
        }
    }
}
