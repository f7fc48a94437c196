//! Requirements on every reader of external bytes: whatever the bytes are, it returns
//! something usable or an error of one sentence that names the file. It never panics.
//!
//! A [`Target`] is a reader with its requirements. Fuzzers search for bytes that violate
//! them (`tests/fuzz`), and a property test tries some on every run
//! (`tests/parsers/tests/inputs.rs`). Both start from the files in `tests/fuzz/seeds`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use it")]

mod adapter;
mod model;
mod run;
mod table;
mod temporary_folder;
mod text;

pub use adapter::base_model;

/// Reader with its requirements.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name of the fuzz target and of the folder with its seeds.
    pub name: &'static str,
    /// Reads bytes; panics if a requirement is violated.
    pub check: fn(&[u8]) -> Outcome,
}

/// Result of reading bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Read and used.
    Accepted,
    /// Refused with an error.
    Refused,
}

/// All readers of untrusted bytes.
pub const TARGETS: [Target; 20] = [
    Target { name: "model_config", check: model::config },
    Target { name: "model_weights", check: model::weights },
    Target { name: "adapter_config", check: adapter::config },
    Target { name: "adapter_weights", check: adapter::weights },
    Target { name: "adapter_pickle", check: adapter::pickle },
    Target { name: "adapter_use", check: adapter::use_file },
    Target { name: "table_tsv", check: table::tsv },
    Target { name: "table_messages", check: table::messages },
    Target { name: "table_csv", check: table::csv },
    Target { name: "table_jsonl", check: table::jsonl },
    Target { name: "table_parquet", check: table::parquet },
    Target { name: "table_detected", check: table::detected },
    Target { name: "table_options", check: table::options },
    Target { name: "text_lines", check: text::lines },
    Target { name: "corpus", check: text::corpus },
    Target { name: "tokenizer", check: text::tokenizer },
    Target { name: "run_config", check: run::options },
    Target { name: "fine_tuning", check: run::model_defaults },
    Target { name: "checkpoint", check: run::checkpoint },
    Target { name: "split", check: run::split },
];

/// Runs a target by name, for fuzzers.
///
/// # Panics
/// If a requirement is violated or the name is unknown.
pub fn check(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("unknown target {name}")).check)(bytes);
}

/// Makes a fuzzer's panic hook, which aborts, ignore the panics that a reader catches.
pub fn pass_over_caught_panics() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !dataset::catches_panics() {
            abort(panic);
        }
    }));
}

/// Asserts that an error is one sentence with one of these names.
fn refused(error: &dyn std::error::Error, names: &[&str]) -> Outcome {
    let text = error.to_string();
    assert!(!text.contains(char::is_control) && text.len() > 10, "no sentence: {text:?}");
    assert!(names.iter().any(|name| text.contains(name)), "no file is named: {text}");
    Outcome::Refused
}
