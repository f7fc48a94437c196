//! Packages outside the workspace, each with one crate of the workspace as a
//! dependency, built and run as the README describes.
//!
//! They are in a workspace of their own. It has the lock file, the profiles and the
//! target folder of this one, so that cargo compiles no dependency a second time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;
use tempfile::TempDir;
use test_support::{cargo, fixture, workspace};
use toml::Table;

/// Crates, and the libraries that the program for each uses directly.
const CRATES: [(&str, &[&str]); 7] = [
    ("dataset", &[]),
    ("gpt2-model", &["tch"]),
    ("kernels", &[]),
    ("lora", &["rand_xoshiro", "tch"]),
    ("storage", &[]),
    ("tensor-files", &[]),
    ("trainer", &["tch"]),
];

/// Folder of the packages.
fn packages() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(write_packages).path()
}

fn write_packages() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ours = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let ours: Table = ours.parse().unwrap();
    let profiles = Table::from_iter([("profile".to_owned(), ours["profile"].clone())]);
    let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n\n{profiles}");
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::copy(workspace().join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    for (name, libraries) in CRATES {
        let path = workspace().join("crates").join(name);
        let mut manifest = format!(
            "[package]\nname = \"external-{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [dependencies]\n{name} = {{ path = {:?} }}\n",
            path.display().to_string()
        );
        for library in libraries {
            let version = &ours["workspace"]["dependencies"][library];
            manifest += &format!("{library} = {version}\n");
        }
        let package = folder.path().join(name);
        fs::create_dir_all(package.join("src")).unwrap();
        fs::write(package.join("Cargo.toml"), manifest).unwrap();
        let program = workspace().join(format!("tests/external/programs/{name}.rs"));
        fs::copy(program, package.join("src/main.rs")).unwrap();
    }
    fs::write(folder.path().join("gpt2-model/build.rs"), build_script_of_readme()).unwrap();
    folder
}

fn build_script_of_readme() -> String {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Use as a library").unwrap();
    let (_, script) = section.split_once("```rust\n").unwrap();
    script.split_once("```").unwrap().0.to_owned()
}

/// Has cargo work on the packages, without the paths of libraries that cargo has set for
/// this test.
fn there(mut cargo: Command) -> Command {
    cargo.arg("--offline").current_dir(packages()).env_remove("LD_LIBRARY_PATH");
    cargo.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap());
    cargo
}

/// Returns the first line of standard output of a successful program.
#[track_caller]
fn first_line(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().next().unwrap_or_default().to_owned()
}

/// Runs a package with `cargo run` and returns the first line of its output.
#[track_caller]
fn run(name: &str, arguments: &[&str]) -> String {
    let binary = format!("external-{name}");
    let mut command = there(cargo(&["run", "--quiet", "--bin", &binary]));
    first_line(command.arg("--").args(arguments).output().unwrap())
}

/// Program for a crate, run with neither a libtorch nor its path.
#[track_caller]
fn run_without_libtorch(name: &str, arguments: &[&str]) -> String {
    let binary = format!("external-{name}");
    let mut command = there(cargo(&["run", "--quiet", "--bin", &binary]));
    for variable in ["LIBTORCH", "LIBTORCH_USE_PYTORCH"] {
        command.env_remove(variable);
    }
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--package", &binary]);
    let tree = there(tree).output().unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains(name) && !tree.contains("torch-sys"), "{tree}");
    first_line(command.arg("--").args(arguments).output().unwrap())
}

#[test]
fn dataset_works_without_libtorch() {
    assert_eq!(run_without_libtorch("dataset", &[]), "14 training examples in 2 batches");
}

#[test]
fn kernels_work_without_libtorch() {
    assert_eq!(run_without_libtorch("kernels", &[]), "product [5.0, 11.0]");
}

#[test]
fn storage_works_without_libtorch() {
    assert_eq!(run_without_libtorch("storage", &[]), "17 bytes, 4 lines");
}

#[test]
fn tensor_files_works_without_libtorch() {
    let pickle = fixture("pickles/plain.bin").display().to_string();
    assert_eq!(run_without_libtorch("tensor-files", &[&pickle]), "3 tensors, 52 bytes");
}

#[test]
fn gpt2_model_finds_libtorch() {
    assert_eq!(run("gpt2-model", &[]), "logits [1, 3, 100]");
}

#[test]
fn lora_finds_libtorch() {
    assert_eq!(run("lora", &[]), "96 trainable parameters, outputs [2, 16]");
}

#[test]
fn trainer_finds_libtorch() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (fixture("tiny"), fixture("messages.tsv"));
    let paths = [model, data, folder.path().join("out")].map(|path| path.display().to_string());
    let line = run("trainer", &paths.each_ref().map(String::as_str));
    assert_eq!(line, r#"1 of ["ham", "spam"]"#);
}

#[test]
fn nothing_is_compiled_again() {
    let build = || there(cargo(&["build", "--bin", "external-trainer"])).output().unwrap();
    assert!(build().status.success());
    let again = String::from_utf8(build().stderr).unwrap();
    assert!(again.contains("Finished") && !again.contains("Compiling"), "{again}");
}

#[test]
#[cfg(unix)]
fn a_binary_with_the_build_script_of_the_readme_runs_without_cargo() {
    let mut build = there(cargo(&["build", "--quiet", "--bin", "external-gpt2-model"]));
    let build = build.args(["--message-format", "json-render-diagnostics"]).output().unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let messages = String::from_utf8(build.stdout).unwrap();
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).unwrap();
        message["executable"].as_str().map(str::to_owned)
    });
    let mut program = Command::new(executable.unwrap());
    let output = program.env_remove("LD_LIBRARY_PATH").output().unwrap();
    assert_eq!(first_line(output), "logits [1, 3, 100]");
}
