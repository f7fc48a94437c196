//! Packages outside the workspace, each with one crate of it as a dependency, built and run as
//! the README describes.
//!
//! Their own workspace has the lock file, the profiles and the target folder of this one, so
//! that cargo compiles no dependency twice.

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
const CRATES: [(&str, &[&str]); 9] = [
    ("dataset", &[]),
    ("distributed", &["tch"]),
    ("gpt2-config", &[]),
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
        let program = match name {
            "lora" => documented("README.md", "`src/main.rs`:", "rust"),
            _ => {
                let program = workspace().join(format!("tests/external/programs/{name}.rs"));
                fs::read_to_string(program).unwrap()
            }
        };
        fs::write(package.join("src/main.rs"), program).unwrap();
    }
    let script = documented("docs/library.md", "add a\n`build.rs`:", "rust");
    fs::write(folder.path().join("gpt2-model/build.rs"), script).unwrap();
    folder
}

/// Returns a block of code of a page, after the words that introduce it.
fn documented(page: &str, introduction: &str, language: &str) -> String {
    let text = fs::read_to_string(workspace().join(page)).unwrap();
    let (_, rest) = text.split_once(introduction).unwrap();
    let (_, block) = rest.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_manifest_of_the_readme_has_the_dependencies_of_its_program() {
    let manifest: Table = documented("README.md", "`Cargo.toml`:", "toml").parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    let (_, libraries) = CRATES.iter().find(|(name, _)| *name == "lora").unwrap();
    let expected: Vec<&str> = ["lora"].into_iter().chain(libraries.iter().copied()).collect();
    assert_eq!(dependencies.keys().collect::<Vec<_>>(), expected);
    let ours = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let ours: Table = ours.parse().unwrap();
    for library in *libraries {
        let version = &ours["workspace"]["dependencies"][library];
        let version = version.get("version").unwrap_or(version);
        assert_eq!(&dependencies[*library], version, "{library}");
    }
}

/// Cargo command for the packages, without the library paths that cargo set for this test.
fn in_packages(mut cargo: Command) -> Command {
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
    let mut command = in_packages(cargo(&["run", "--quiet", "--bin", &binary]));
    first_line(command.arg("--").args(arguments).output().unwrap())
}

/// Program for a crate, run with neither a libtorch nor its path.
#[track_caller]
fn run_without_libtorch(name: &str, arguments: &[&str]) -> String {
    let binary = format!("external-{name}");
    let mut command = in_packages(cargo(&["run", "--quiet", "--bin", &binary]));
    for variable in ["LIBTORCH", "LIBTORCH_USE_PYTORCH"] {
        command.env_remove(variable);
    }
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--package", &binary]);
    let tree = in_packages(tree).output().unwrap();
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
fn gpt2_config_works_without_libtorch() {
    let tiny = fixture("tiny").display().to_string();
    assert_eq!(run_without_libtorch("gpt2-config", &[&tiny]), "28 tensors");
}

#[test]
fn tensor_files_works_without_libtorch() {
    let pickle = fixture("pickles/plain.bin").display().to_string();
    assert_eq!(run_without_libtorch("tensor-files", &[&pickle]), "3 tensors, 52 bytes");
}

#[test]
fn distributed_finds_libtorch() {
    assert_eq!(run("distributed", &[]), "rank 0 of 1, sum 3");
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
    let build = || in_packages(cargo(&["build", "--bin", "external-trainer"])).output().unwrap();
    assert!(build().status.success());
    let again = String::from_utf8(build().stderr).unwrap();
    assert!(again.contains("Finished") && !again.contains("Compiling"), "{again}");
}

#[test]
#[cfg(unix)]
fn a_binary_with_the_build_script_of_the_readme_runs_without_cargo() {
    let mut build = in_packages(cargo(&["build", "--quiet", "--bin", "external-gpt2-model"]));
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
