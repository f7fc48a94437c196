//! Contender: a program that loads once and then performs units of work on request.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use super::protocol::{Answer, Ended, Ready, parse};

/// Time for a program to end after its last answer.
const ENDING: Duration = Duration::from_secs(5);
/// Lines of the log in an error.
const LAST_LINES: usize = 8;

/// A program that runs. It is ended when this is dropped.
pub struct Contender {
    pub name: String,
    pub ready: Ready,
    /// Seconds from the start of the program until it is ready.
    pub start_seconds: f64,
    process: Process,
}

struct Process {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Contender {
    /// Starts `command` and waits until it is ready. What it writes to standard
    /// error goes into the file `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let cannot_write = || format!("cannot write {}: is its folder writable?", log.display());
        let errors = File::create(log).with_context(cannot_write)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let begin = Instant::now();
        let mut child = command.spawn().with_context(|| {
            let program = command.get_program().to_string_lossy();
            format!("{name} did not start, because {program} cannot be run")
        })?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().context("a program was started without its output")?;
        let log = log.to_owned();
        let mut process = Process { child, requests, answers: BufReader::new(answers), log };
        let ready = process.answer().with_context(|| format!("{name} did not load"))?;
        Ok(Self {
            name: name.to_owned(),
            ready,
            start_seconds: begin.elapsed().as_secs_f64(),
            process,
        })
    }

    /// Asks for a unit of work and waits for what comes of it.
    pub fn ask<A: Answer>(&mut self, request: &str) -> Result<A> {
        self.process.request(request);
        self.answer(request)
    }

    /// Asks several contenders for a unit of work that they do together, and waits for all of
    /// them. Returns the answer of the first.
    pub fn ask_all<A: Answer>(all: &mut [Self], request: &str) -> Result<A> {
        all.iter_mut().for_each(|one| one.process.request(request));
        let mut answers = Vec::new();
        for one in all {
            answers.push(one.answer(request)?);
        }
        answers.into_iter().next().context("no contender was asked")
    }

    fn answer<A: Answer>(&mut self, request: &str) -> Result<A> {
        let asked = || format!("{} did not answer `{request}`", self.name);
        self.process.answer().with_context(asked)
    }

    /// Asks it to end; returns the bytes of memory it had when it had most.
    pub fn quit(mut self) -> Result<Option<u64>> {
        let ended: Ended = self.ask("quit")?;
        self.process.end();
        Ok(ended.peak_memory_bytes)
    }
}

impl Process {
    fn request(&mut self, request: &str) {
        if let Some(requests) = &mut self.requests {
            // A program that has ended cannot be written to. That is not said
            // here: reading finds out as well, and tells how it ended.
            let _ = writeln!(requests, "{request}").and_then(|()| requests.flush());
        }
    }

    fn answer<A: Answer>(&mut self) -> Result<A> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(0) => {
                let how = match self.end() {
                    Some(status) => format!("it ended ({status})"),
                    None => "it closed its output".to_owned(),
                };
                Err(anyhow!("{how}; {}", self.last_lines()))
            }
            Ok(_) => parse(&line)
                .with_context(|| format!("it said {:?}; {}", line.trim_end(), self.last_lines())),
            Err(error) => Err(anyhow!("its output is not text ({error}); {}", self.last_lines())),
        }
    }

    /// Waits for it to end, for a while, and says how it did so by itself.
    fn end(&mut self) -> Option<ExitStatus> {
        drop(self.requests.take());
        let begin = Instant::now();
        while begin.elapsed() < ENDING {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(10)),
                Ok(status) => return status,
                Err(_) => break,
            }
        }
        None
    }

    fn last_lines(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return format!("{} is empty", self.log.display());
        }
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        format!("{} ends with\n    {}", self.log.display(), last.join("\n    "))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::bench::protocol::{Evaluated, Trained};

    /// Answers like a contender, at `$1` seconds for a unit of work.
    pub const FAKE: &str = r#"
echo '{"load_seconds": 0.25, "versions": {"fake": "1.0"}}'
while read word count; do
  case $word in
    train)
      losses=0.5; i=1
      while [ $i -lt $count ]; do losses="$losses, 0.5"; i=$((i + 1)); done
      echo "{\"seconds\": $1, \"steps\": $count, \"tokens\": $((count * 100)), \"losses\": [$losses]}";;
    generate|evaluate) echo "{\"seconds\": $1, \"rows\": 300, \"tokens\": 9000}";;
    roof) echo '{"gflops": {"mkl": 100, "onednn": 50}, "rows": 200, "flops_per_token": 1e9}';;
    die) echo 'the first line' >&2; echo 'out of memory' >&2; exit 3;;
    chat) echo 'hello there';;
    quit) echo '{"peak_memory_bytes": 1048576}'; exit 0;;
  esac
done
"#;

    /// Starts a script of the shell, which is written to `folder`.
    pub fn start(folder: &Path, name: &str, script: &str, argument: &str) -> Result<Contender> {
        let file = folder.join(format!("{name}.sh"));
        fs::write(&file, script).unwrap();
        let mut command = Command::new("/bin/sh");
        command.arg(&file).arg(argument);
        Contender::start(name, command, &folder.join(format!("{name}.log")))
    }

    #[test]
    fn units_of_work_are_requested_in_turn() {
        let folder = tempfile::tempdir().unwrap();
        let mut fake = start(folder.path(), "fake", FAKE, "0.5").unwrap();
        assert_eq!((fake.ready.load_seconds, fake.ready.versions["fake"].as_str()), (0.25, "1.0"));
        assert!(fake.start_seconds > 0.0);
        let trained: Trained = fake.ask("train 3").unwrap();
        assert_eq!((trained.steps, trained.tokens, trained.losses), (3, 300, vec![0.5; 3]));
        let evaluated: Evaluated = fake.ask("evaluate").unwrap();
        assert_eq!((evaluated.seconds, evaluated.rows), (0.5, 300));
        assert_eq!(fake.quit().unwrap(), Some(1 << 20));
    }

    #[test]
    fn dead_contender_is_reported_with_its_output() {
        let folder = tempfile::tempdir().unwrap();
        let mut fake = start(folder.path(), "fake", FAKE, "0.5").unwrap();
        let error = fake.ask::<Trained>("die").unwrap_err();
        let log = folder.path().join("fake.log");
        let expected = format!(
            "fake did not answer `die`: it ended (exit status: 3); {} ends with\n    the first line\n    \
             out of memory",
            log.display()
        );
        assert_eq!(format!("{error:#}"), expected);
        // The process has ended: the error is the same.
        let error = fake.ask::<Trained>("train 1").unwrap_err();
        assert!(format!("{error:#}").contains("it ended (exit status: 3)"), "{error:#}");
    }

    #[test]
    fn failed_load_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let error = start(folder.path(), "fake", "exit 2", "").err().unwrap();
        let text = format!("{error:#}");
        assert!(text.starts_with("fake did not load: it ended (exit status: 2); "), "{text}");
        assert!(text.ends_with("fake.log is empty"), "{text}");
    }

    #[test]
    fn malformed_response_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut fake = start(folder.path(), "fake", FAKE, "0.5").unwrap();
        let error = format!("{:#}", fake.ask::<Trained>("chat").unwrap_err());
        assert!(
            error.starts_with("fake did not answer `chat`: it said \"hello there\"; "),
            "{error}"
        );
        assert!(error.contains("this is not the JSON that is expected"), "{error}");
        assert!(fake.ask::<Trained>("evaluate").is_err());
    }

    #[test]
    fn contender_ends_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let fake = start(folder.path(), "fake", FAKE, "0.5").unwrap();
        let process = PathBuf::from(format!("/proc/{}", fake.process.child.id()));
        let known = process.exists();
        drop(fake);
        assert!(!known || !process.exists());
    }
}
