//! Building and running the binaries of the workspace.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::workspace;

/// Path of a binary of the workspace, which is built first if necessary.
///
/// Cargo only gives tests the binaries of their own package, and these belong to
/// other packages. The build has the profile of the tests, so that nothing is compiled
/// twice, and includes only this binary, because `xtask` must build without libtorch.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // After a failed build, the next test tries again and fails as well.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(name.to_owned()).or_insert_with(|| build(name)).clone()
}

/// Cargo command with the profile of the running test, so that nothing is compiled twice.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments);
    // Cargo set these for the package of the test. Build scripts that look at them (ring's,
    // for example) would run again.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo
}

fn build(name: &str) -> PathBuf {
    let arguments = ["--quiet", "--workspace", "--bin", name];
    let mut cargo = cargo(&["build"]);
    cargo.args(arguments).args(["--message-format", "json-render-diagnostics"]);
    let output = cargo.current_dir(workspace()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let mut built = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"].as_str()? == name;
        is_it.then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    built.next().unwrap_or_else(|| panic!("the workspace has no binary {name}"))
}

/// Runs a binary of the workspace in an empty folder on one thread.
pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(name: &str, arguments: I) -> Finished {
    start(Some("1"), name, arguments, b"")
}

/// Same as [`run`] on the given number of threads, or on the number that the binary chooses.
pub fn run_on_threads<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    threads: Option<&str>,
    name: &str,
    arguments: I,
) -> Finished {
    start(threads, name, arguments, b"")
}

/// Same as [`run`] with the given standard input.
pub fn run_with_input<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    name: &str,
    arguments: I,
    input: impl AsRef<[u8]>,
) -> Finished {
    start(Some("1"), name, arguments, input.as_ref())
}

/// Runs a binary on one thread under a resource limit of the shell, such as `ulimit -f 80`.
pub fn run_limited(limit: &str, name: &str, arguments: &[String]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]).arg(binary(name)).args(arguments);
    shell.env("OMP_NUM_THREADS", "1").env_remove("RUST_BACKTRACE").output().unwrap()
}

fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    threads: Option<&str>,
    name: &str,
    arguments: I,
    input: &[u8],
) -> Finished {
    let (folder, mut command) = prepare(threads, name, arguments);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // On a thread of its own, so that full pipes block neither side. A program may
    // ignore its input.
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Finished { folder, output }
}

/// Same as [`run`], but sends the program a signal (`KILL` or `TERM`) as soon as
/// `is_time` returns true. Panics if the program exits earlier.
pub fn run_and_signal<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    name: &str,
    arguments: I,
    signal: &str,
    is_time: impl FnMut() -> bool,
) -> Finished {
    let (folder, mut command) = prepare(Some("1"), name, arguments);
    Finished { folder, output: start_and_signal(&mut command, signal, is_time) }
}

/// Starts a program and sends it a signal as soon as `is_time` returns true. Panics if
/// the program exits earlier.
pub fn start_and_signal(
    command: &mut Command,
    signal: &str,
    mut is_time: impl FnMut() -> bool,
) -> Output {
    let mut child = KilledOnDrop(Some(command.spawn().unwrap()));
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

/// A child process that is killed if the test fails while it runs.
struct KilledOnDrop(Option<Child>);

impl Drop for KilledOnDrop {
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
    // As in the configuration of the workspace, also if a test runs without cargo.
    command.env("GOMP_SPINCOUNT", "20000");
    if let Some(threads) = threads {
        command.env("OMP_NUM_THREADS", threads);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    (folder, command)
}

/// Output of a program that has exited, and its working directory.
pub struct Finished {
    /// Working directory.
    pub folder: TempDir,
    /// Standard output, standard error and exit status.
    pub output: Output,
}

impl Finished {
    /// Standard output as text.
    pub fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).expect("UTF-8 on standard output")
    }

    /// Standard error as text.
    pub fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).expect("UTF-8 on standard error")
    }

    /// Asserts a successful exit.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(self.output.status.success(), "{}", self.stderr());
        self
    }

    /// Asserts a failure whose error message is one line and contains all `words`.
    #[track_caller]
    pub fn failed(self, words: &[&str]) -> Self {
        let stderr = self.stderr();
        assert!(!self.output.status.success(), "it should have failed: {stderr}");
        let error = stderr.lines().find(|line| line.starts_with("error: "));
        let error = error.unwrap_or_else(|| panic!("there is no error message: {stderr}"));
        for word in words {
            assert!(error.contains(word), "{word:?} is not in {error:?}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
        self
    }
}
