//! A working folder of a user, and commands that must fail in it without writing anything.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    thread,
};

use tempfile::TempDir;

use crate::{binary, fixture, pocket, run, training};

/// Examples in the table of a world, more than the smallest split needs.
const ROWS: usize = 60;

/// A folder with the pocket model (`model`), the tiny model (`tiny`), an adapter trained
/// on the pocket model (`adapter`), labeled text (`data.csv`), plain text (`text.txt`),
/// an unfinished run (`begun`), an evaluation report (`report`) and predictions
/// (`answers.csv`).
///
/// The files of the models are links; [`World::write`] replaces a link by a file.
pub struct World {
    folder: TempDir,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Creates the folder.
    pub fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        link(&pocket(), &world.path("model"), &["config.json", "model.safetensors"]);
        link(&fixture("tiny"), &world.path("tiny"), &["config.json", "model.safetensors"]);
        copy(&trained().path().join("adapter"), &world.path("adapter"));
        world.write("data.csv", table());
        world.write("text.txt", "One document.\n\nAnother one, of some more words.\n".repeat(20));
        for name in ["begun/train.csv", "begun/split.json", "begun/metrics.jsonl"] {
            world.write(name, format!("what {name} had before\n"));
        }
        world.write("begun/run.toml", fs::read(trained().path().join("run.toml")).unwrap());
        world.write("report/evaluation.json", "{\"accuracy\": 0.5, \"confusion\": []}\n");
        for name in ["report/misclassified.jsonl", "answers.csv"] {
            world.write(name, format!("what {name} had before\n"));
        }
        world
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Reads a file in the folder.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Writes a file, replacing a file or a link.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        fs::write(path, bytes).unwrap();
    }

    /// Replaces the first occurrence of a text in a file; panics if there is none.
    pub fn change(&self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(name)).unwrap();
        assert!(text.contains(from), "{from:?} is not in {name}: {text}");
        self.write(name, text.replacen(from, to, 1));
    }

    /// Asserts that `gpt2-lora` refuses a command, see [`World::refuses_to`].
    #[track_caller]
    pub fn refuses(&self, command: &str, says: &[&str]) -> Refusal {
        self.refuses_to("gpt2-lora", command, b"", says)
    }

    /// Runs a program in the folder, its arguments split at spaces, and asserts that
    ///
    /// * the exit code is 1, or 2 for an invalid command line, without a panic or signal;
    /// * standard error ends with one line that contains all of `says`, and contains no
    ///   backtrace and no C++ or panic message;
    /// * no file was created, changed or deleted.
    #[track_caller]
    pub fn refuses_to(&self, program: &str, command: &str, input: &[u8], says: &[&str]) -> Refusal {
        let before = self.files();
        let output = self.output(program, command, input);
        let refusal = self.refusal(command, output, &before);
        for word in says {
            let error = &refusal.error;
            assert!(error.contains(word), "{program} {command}: {word:?} is not in {error:?}");
        }
        refusal
    }

    /// Asserts that `gpt2-lora` succeeds, or refuses a command as [`World::refuses_to`]
    /// demands; returns true if it succeeded.
    #[track_caller]
    pub fn succeeds_or_refuses(&self, command: &str) -> bool {
        let before = self.files();
        let output = self.output("gpt2-lora", command, b"");
        let success = output.status.success();
        if success {
            let stderr = String::from_utf8(output.stderr).expect("UTF-8 on standard error");
            assert!(!stderr.contains("error: "), "{command}: {stderr}");
        } else {
            self.refusal(command, output, &before);
        }
        success
    }

    /// Output of a program that runs in the folder.
    fn output(&self, program: &str, command: &str, input: &[u8]) -> Output {
        let mut child = Command::new(binary(program))
            .args(command.split_whitespace())
            .current_dir(self.folder.path())
            .env("OMP_NUM_THREADS", "1")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A program may ignore its input.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// Checks the output and the files of a command that failed.
    #[track_caller]
    fn refusal(
        &self,
        command: &str,
        output: Output,
        before: &BTreeMap<PathBuf, Vec<u8>>,
    ) -> Refusal {
        let stderr = String::from_utf8(output.stderr).expect("UTF-8 on standard error");
        let code = output.status.code();
        assert!(matches!(code, Some(1 | 2)), "{command}: {}: {stderr}", output.status);
        let error = one_sentence(&stderr);
        let after = self.files();
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(before), "{command}");
        for (name, bytes) in before {
            assert!(after[name] == *bytes, "{command} wrote over {}", name.display());
        }
        Refusal { error, stdout: String::from_utf8(output.stdout).unwrap() }
    }

    /// Contents of every file and folder by path; the size of files larger than 100 MB.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::metadata(&path).unwrap();
                if metadata.is_dir() {
                    files.insert(path.clone(), Vec::new());
                    folders.push(path);
                } else if metadata.len() > 100_000_000 {
                    files.insert(path, metadata.len().to_le_bytes().to_vec());
                } else {
                    let bytes = fs::read(&path).unwrap();
                    files.insert(path, bytes);
                }
            }
        }
        files
    }
}

/// Output of a refused command.
pub struct Refusal {
    /// Error message without the prefix `error: `.
    pub error: String,
    /// Standard output.
    pub stdout: String,
}

/// Returns the one-line error message that standard error ends with.
#[track_caller]
pub fn one_sentence(stderr: &str) -> String {
    let shown: String = stderr.chars().take(4000).collect();
    for word in [
        "panicked",
        "terminate called",
        "backtrace",
        "frame #",
        "Exception raised from",
        "memory allocation of",
        "internal error",
    ] {
        assert!(!stderr.contains(word), "{word:?} is in {shown}");
    }
    let count = stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(count, 1, "{shown}");
    let (before, error) = stderr.split_once("error: ").unwrap();
    assert!(before.is_empty() || before.ends_with('\n'), "{shown}");
    // The command-line parser adds usage hints below the message.
    let sentence = error.lines().next().unwrap();
    assert!(error.contains("For more information, try") || error.trim_end() == sentence, "{shown}");
    assert!(sentence.len() < 900, "too long to read: {sentence}");
    sentence.to_owned()
}

/// Output folder of a training run on the pocket model, shared by all tests.
fn trained() -> &'static TempDir {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.csv");
        fs::write(&data, table()).unwrap();
        let (model, out) = (pocket(), folder.path());
        let mut arguments = training(&model, &data, out);
        let options = "--epochs 1 --rank 2 --batch-size 8 --max-length 16 --eval-every 100";
        arguments.extend(options.split(' ').map(String::from));
        run("trainer", arguments).succeeded();
        folder
    })
}

/// Labeled text of two classes.
pub fn table() -> String {
    let row = |row: usize| match row % 2 {
        0 => format!("see you at home at {row},ham\n"),
        _ => format!("win prize number {row} now,spam\n"),
    };
    format!("text,label\n{}", (0..ROWS).map(row).collect::<String>())
}

fn link(from: &Path, to: &Path, names: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for name in names {
        std::os::unix::fs::symlink(from.join(name), to.join(name)).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
