//! Rust contenders: a bench target of `trainer`, which also writes the job of all contenders.

use std::{
    fs,
    io::stderr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use storage::create_directory;

use crate::{
    cargo::{command, run},
    workspace::show,
};

/// Contender of the default recipe.
pub const PACKED: &str = "packed";
/// The bench target.
const TARGET: &str = "contender";

/// A line of cargo's, as far as it is of interest.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds the program of the Rust contenders; returns where it is.
pub fn build(root: &Path) -> Result<PathBuf> {
    say!("building the Rust contenders (the first time, that takes minutes)");
    let mut cargo = command(root);
    cargo.args(["build", "--locked", "--package", "trainer", "--bench", TARGET]);
    // What the compiler has to say goes to standard error, as it always does.
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = cargo.output().context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("cargo build failed ({}); see its output above", output.status);
    }
    executable(&String::from_utf8_lossy(&output.stdout)).with_context(|| {
        format!("cargo built no {TARGET}: crates/trainer must have a bench target of that name")
    })
}

/// The program among what cargo says. Lines of other programs are passed on.
fn executable(lines: &str) -> Option<PathBuf> {
    let mut found = None;
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let Ok(message) = serde_json::from_str::<Message>(line) else {
            say!("{line}");
            continue;
        };
        let is_ours = |target: &Target| {
            target.name == TARGET && target.kind.iter().any(|kind| kind == "bench")
        };
        if message.reason == "compiler-artifact" && message.target.as_ref().is_some_and(is_ours) {
            found = message.executable.or(found);
        }
    }
    found
}

/// Part of the job that is read here.
#[derive(Deserialize)]
pub struct Job {
    batches: Vec<Vec<u64>>,
    language_model: Examples,
}

#[derive(Deserialize)]
struct Examples {
    batches: Vec<Vec<u64>>,
}

impl Job {
    /// Training steps of an epoch.
    pub fn steps(&self) -> usize {
        self.batches.len()
    }

    /// Training steps of an epoch of a language model.
    pub fn language_model_steps(&self) -> usize {
        self.language_model.batches.len()
    }

    fn read(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let job: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a job", file.display()))?;
        if job.batches.is_empty() {
            bail!("{} has no batches: give more messages with --data", file.display());
        }
        Ok(job)
    }
}

/// Has the job written to `folder`.
pub fn write_job(root: &Path, contender: &Path, folder: &Path, data: Option<&Path>) -> Result<Job> {
    say!("writing the job to {}", show(root, folder));
    create_directory(folder)?;
    let mut command = Command::new(contender);
    command.arg("write-job").arg(folder).current_dir(root).stdout(stderr());
    if let Some(data) = data {
        // It is run in another folder than this program.
        let cannot_tell = || format!("cannot tell where {} is", data.display());
        command.arg("--data").arg(std::path::absolute(data).with_context(cannot_tell)?);
    }
    run(command).context("the job was not written")?;
    Job::read(&folder.join("job.json"))
}

/// Has a job of random rows written to `folder`: rows of a batch, tokens of a row,
/// layers of the model, rank of the adapters.
pub fn write_shape(root: &Path, program: &Path, folder: &Path, shape: [u32; 4]) -> Result<()> {
    create_directory(folder)?;
    let mut command = Command::new(program);
    command.arg("write-shape").arg(folder).args(shape.map(|number| number.to_string()));
    command.current_dir(root).stdout(stderr());
    run(command).context("the job was not written")
}

/// The command of a Rust contender.
pub fn contender(root: &Path, program: &Path, name: &str, job: &Path, threads: usize) -> Command {
    let mut command = Command::new(program);
    command.args(["run", name, "--job"]).arg(job).arg("--threads").arg(threads.to_string());
    command.current_dir(root);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_found_in_cargo_messages() {
        let lines = r#"
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"contender"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"contender"},"executable":"/t/bin"}
a line of another program
{"reason":"compiler-artifact","target":{"kind":["bench"],"name":"contender"},"executable":"/t/contender-1f"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(lines), Some(PathBuf::from("/t/contender-1f")));
        assert_eq!(executable("{\"reason\":\"build-finished\",\"success\":true}"), None);
    }

    #[test]
    fn job_has_the_steps_of_an_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("job.json");
        let text =
            r#"{"batches": [[0, 2], [1, 3], [4]], "language_model": {"batches": [[0], [1]]}}"#;
        fs::write(&file, text).unwrap();
        let job = Job::read(&file).unwrap();
        assert_eq!((job.steps(), job.language_model_steps()), (3, 2));
        fs::write(&file, r#"{"batches": [], "language_model": {"batches": []}}"#).unwrap();
        assert!(Job::read(&file).err().unwrap().to_string().contains("has no batches"));
        fs::write(&file, "{}").unwrap();
        assert!(Job::read(&file).err().unwrap().to_string().ends_with("is not a job"));
    }
}
