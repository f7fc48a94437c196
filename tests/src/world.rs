//! A folder as a person works in it, and commands that have to be refused in it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
};

use tempfile::TempDir;

use crate::{binary, fixture, run};

/// Rows of the table that a world has, more than the smallest split needs.
const ROWS: usize = 60;

/// The project's own small base model.
pub fn pocket() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights/pocket").canonicalize().unwrap()
}

/// A folder with the pocket model (`model`), an adapter trained on it (`adapter`),
/// labelled text (`data.csv`), plain text (`text.txt`), a run that is not finished
/// (`begun`), a report of an evaluation (`report`) and a file of answers (`answers.csv`).
///
/// The files of the model are links; [`World::write`] puts a file in the place of one.
pub struct World {
    folder: TempDir,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A new one.
    pub fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        link(&pocket(), &world.path("model"), &["config.json", "model.safetensors"]);
        link(&fixture("tiny"), &world.path("tiny"), &["config.json", "model.safetensors"]);
        copy(&trained().path().join("adapter"), &world.path("adapter"));
        world.write("data.csv", table());
        world.write("text.txt", "One document.\n\nAnother one, of some more words.\n".repeat(20));
        for name in ["begun/train.csv", "begun/split.json", "begun/run.toml", "begun/metrics.jsonl"]
        {
            world.write(name, format!("what {name} had before\n"));
        }
        world.write("begun/config.json", fs::read(trained().path().join("config.json")).unwrap());
        for name in ["report/evaluation.json", "report/mistakes.jsonl", "answers.csv"] {
            world.write(name, format!("what {name} had before\n"));
        }
        world
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The bytes of a file in it.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Puts a file there, in the place of one or of a link.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        fs::write(path, bytes).unwrap();
    }

    /// Replaces a text in a file, which has to be there.
    pub fn change(&self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(name)).unwrap();
        assert!(text.contains(from), "{from:?} is not in {name}: {text}");
        self.write(name, text.replacen(from, to, 1));
    }

    /// Runs `gpt2-lora` in it and demands that it is refused, see [`World::refuses_to`].
    #[track_caller]
    pub fn refuses(&self, command: &str, says: &[&str]) -> Refusal {
        self.refuses_to("gpt2-lora", command, b"", says)
    }

    /// Runs a program in it, its arguments split at spaces, and demands that
    ///
    /// * it ends with the exit code 1, or 2 for a wrong command line: by itself, and by
    ///   no panic;
    /// * what it says ends with one sentence that holds all of `says`, and has neither a
    ///   stack nor a word of C++ or of panics;
    /// * every file is as it was, and none is new.
    #[track_caller]
    pub fn refuses_to(&self, program: &str, command: &str, input: &[u8], says: &[&str]) -> Refusal {
        let before = self.files();
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
        // A program that does not read its input is no mistake.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let stderr = String::from_utf8(output.stderr).expect("UTF-8 on standard error");
        let code = output.status.code();
        assert!(matches!(code, Some(1 | 2)), "{program} {command}: {}: {stderr}", output.status);
        let error = one_sentence(&stderr);
        for word in says {
            assert!(error.contains(word), "{program} {command}: {word:?} is not in {error:?}");
        }
        let after = self.files();
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "{program} {command}");
        for (name, bytes) in &before {
            assert!(after[name] == *bytes, "{program} {command} wrote over {}", name.display());
        }
        Refusal { error, stdout: String::from_utf8(output.stdout).unwrap() }
    }

    /// Every file and folder in it by its name, and its bytes; of one that is larger than
    /// 100 MB its size.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let about = fs::metadata(&path).unwrap();
                if about.is_dir() {
                    files.insert(path.clone(), Vec::new());
                    folders.push(path);
                } else if about.len() > 100_000_000 {
                    files.insert(path, about.len().to_le_bytes().to_vec());
                } else {
                    let bytes = fs::read(&path).unwrap();
                    files.insert(path, bytes);
                }
            }
        }
        files
    }
}

/// A command that was refused.
pub struct Refusal {
    /// The sentence, without what it begins with.
    pub error: String,
    /// What was printed before.
    pub stdout: String,
}

/// The one sentence that standard error ends with.
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
        "mistake of the program",
    ] {
        assert!(!stderr.contains(word), "{word:?} is in {shown}");
    }
    let count = stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(count, 1, "{shown}");
    let (before, error) = stderr.split_once("error: ").unwrap();
    assert!(before.is_empty() || before.ends_with('\n'), "{shown}");
    // The parser of the command line says more below: how to use it.
    let sentence = error.lines().next().unwrap();
    assert!(error.contains("For more information, try") || error.trim_end() == sentence, "{shown}");
    assert!(sentence.len() < 900, "a sentence that nobody reads: {sentence}");
    sentence.to_owned()
}

/// A run of the pocket model, once for all tests.
fn trained() -> &'static TempDir {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.csv");
        fs::write(&data, table()).unwrap();
        let (model, out) = (pocket(), folder.path());
        let mut arguments = crate::training(&model, &data, out);
        let options = "--epochs 1 --rank 2 --batch-size 8 --max-length 16 --eval-every 100";
        arguments.extend(options.split(' ').map(String::from));
        run("trainer", arguments).succeeded();
        folder
    })
}

/// Labelled text of two classes.
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
