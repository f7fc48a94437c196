//! What the end-to-end tests share: the built binaries, the fixtures, and runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "only tests use it")]

mod hostile;
#[cfg(target_os = "linux")]
pub mod power_cut;
mod server;
#[cfg(unix)]
mod world;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

pub use hostile::damaged;
pub use server::{Reply, Request, Server};
#[cfg(unix)]
pub use world::{Refusal, World, one_sentence, pocket, table};

/// A path below `tests/fixtures`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// A path below the folder `shared` beside the checkout, if it is there.
pub fn beside(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(path);
    path.canonicalize().ok()
}

/// A binary of the workspace, built if it is not.
///
/// Cargo gives tests the binaries of their own package only, and these belong
/// to others. The build is the one that the tests themselves are of, so that
/// nothing is compiled twice; and it is of that binary alone: `xtask` needs no
/// libtorch.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // A build that failed is tried again by the next test, which fails as well.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(name.to_owned()).or_insert_with(|| build(name)).clone()
}

fn build(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--workspace", "--bin", name]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let mut built = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"].as_str()? == name;
        is_it.then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    built.next().unwrap_or_else(|| panic!("the workspace has no binary {name}"))
}

/// Runs a binary of the workspace in an empty folder, on one thread.
pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(name: &str, arguments: I) -> Finished {
    start(Some("1"), name, arguments, "")
}

/// As [`run`], on so many threads, or on as many as it takes of itself.
pub fn run_on_threads<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    threads: Option<&str>,
    name: &str,
    arguments: I,
) -> Finished {
    start(threads, name, arguments, "")
}

/// As [`run`], with something on its standard input.
pub fn run_with_input<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    name: &str,
    arguments: I,
    input: &str,
) -> Finished {
    start(Some("1"), name, arguments, input)
}

/// What a binary does, on one thread, under a limit that a shell sets: `ulimit -f 80`.
pub fn run_limited(limit: &str, name: &str, arguments: &[String]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]).arg(binary(name)).args(arguments);
    shell.env("OMP_NUM_THREADS", "1").env_remove("RUST_BACKTRACE").output().unwrap()
}

fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    threads: Option<&str>,
    name: &str,
    arguments: I,
    input: &str,
) -> Finished {
    let (folder, mut command) = prepare(threads, name, arguments);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Beside reading: neither side waits for the other to make room. A program
    // that does not read its input is no mistake.
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Finished { folder, output }
}

/// As [`run`], but sends the program a signal, `KILL` or `TERM`, as soon as
/// `is_time` says so. A program that ends before it is an error.
pub fn run_and_signal<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    name: &str,
    arguments: I,
    signal: &str,
    is_time: impl FnMut() -> bool,
) -> Finished {
    let (folder, mut command) = prepare(Some("1"), name, arguments);
    Finished { folder, output: start_and_signal(&mut command, signal, is_time) }
}

/// Starts a program and sends it a signal as soon as `is_time` says so. One that ends
/// before it is an error.
pub fn start_and_signal(
    command: &mut Command,
    signal: &str,
    mut is_time: impl FnMut() -> bool,
) -> Output {
    let mut child = Kept(Some(command.spawn().unwrap()));
    while !is_time() {
        let has_ended = child.0.as_mut().unwrap().try_wait().unwrap().is_some();
        assert!(!has_ended, "{command:?} ended before it was sent a signal");
        thread::sleep(Duration::from_millis(1));
    }
    let child = child.0.take().unwrap();
    let kill = format!("kill -s {signal} {}", child.id());
    let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(sent.success(), "{command:?} could not be sent {signal}");
    child.wait_with_output().unwrap()
}

/// A program that does not outlive a test which fails meanwhile.
struct Kept(Option<Child>);

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
        }
    }
}

fn prepare<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    threads: Option<&str>,
    name: &str,
    arguments: I,
) -> (TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary(name));
    command.args(arguments).current_dir(folder.path()).env_remove("OMP_NUM_THREADS");
    // As in the workspace's configuration, also where a test is run without cargo.
    command.env("GOMP_SPINCOUNT", "20000");
    if let Some(threads) = threads {
        command.env("OMP_NUM_THREADS", threads);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    (folder, command)
}

/// A program that has ended, and the folder that it was started in.
pub struct Finished {
    /// Where it was started.
    pub folder: TempDir,
    /// What it wrote, and how it ended.
    pub output: Output,
}

impl Finished {
    /// What it wrote to standard output.
    pub fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).expect("UTF-8 on standard output")
    }

    /// What it wrote to standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).expect("UTF-8 on standard error")
    }

    /// Demands that it ended well.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(self.output.status.success(), "{}", self.stderr());
        self
    }

    /// Demands that it ended with an error of one sentence that holds `words`.
    #[track_caller]
    pub fn failed(self, words: &[&str]) -> Self {
        let stderr = self.stderr();
        assert!(!self.output.status.success(), "it should have failed: {stderr}");
        let error = stderr.lines().find(|line| line.starts_with("error: "));
        let error = error.unwrap_or_else(|| panic!("no error is said: {stderr}"));
        for word in words {
            assert!(error.contains(word), "{word:?} is not in {error:?}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
        self
    }
}

/// Runs `trainer` on the tiny model and the fixture's messages; `options` are
/// split at spaces, and results go to `out` in the run's folder.
pub fn train(options: &str) -> Finished {
    let mut arguments = training(&fixture("tiny"), &fixture("messages.tsv"), Path::new("out"));
    arguments.extend(options.split_whitespace().map(String::from));
    run("trainer", arguments)
}

/// Runs `trainer` for one epoch on other files.
pub fn train_on(model: &Path, data: &Path, out: &Path) -> Finished {
    let mut arguments = training(model, data, out);
    arguments.extend(["--epochs".to_owned(), "1".to_owned()]);
    run("trainer", arguments)
}

/// The options that say what is trained on what, and where results go.
pub fn training(model: &Path, data: &Path, out: &Path) -> Vec<String> {
    let pairs = [("--model", model), ("--data", data), ("--out", out)];
    pairs.into_iter().flat_map(|(name, path)| [name.into(), path.display().to_string()]).collect()
}

/// A JSON file.
pub fn read_json(path: &Path) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file of one JSON object a line.
pub fn read_jsonl(path: &Path) -> Vec<Value> {
    read(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The float32 tensors of a safetensors file: shape and values.
pub fn read_tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let decode = |bytes: &[u8]| {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    tensors
        .iter()
        .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), decode(view.data()))))
        .collect()
}

/// Every file below the folder of a finished run by its name there, without what
/// differs from run to run: times, and the name of the folder. A run that was killed
/// may leave a file under the hidden name that it has until it is whole.
pub fn results(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(out).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            let below = results(&path).into_iter();
            all.extend(below.map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if name.ends_with(".json") || name.ends_with(".jsonl") {
            let text = String::from_utf8(bytes).unwrap();
            bytes = without(&without(&text, "seconds"), "out").into_bytes();
        }
        all.insert(name, bytes);
    }
    all
}

/// JSON without the values of this name.
fn without(text: &str, name: &str) -> String {
    let name = format!("\"{name}\":");
    let mut pieces = text.split(&name);
    let mut kept = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let value = piece.trim_start();
        let end = match value.strip_prefix('"') {
            Some(rest) => 2 + rest.find('"').unwrap(),
            None => value.find(['}', ',', '\n']).unwrap(),
        };
        kept.push_str(&value[end..]);
    }
    kept
}

/// Demands that two finished runs have left the same.
#[track_caller]
pub fn assert_same_results(one: &Path, other: &Path) {
    let (one, other) = (results(one), results(other));
    assert!(one.keys().eq(other.keys()), "{:?} and {:?}", one.keys(), other.keys());
    for (name, bytes) in &one {
        assert!(other[name] == *bytes, "{name} differs");
    }
}
